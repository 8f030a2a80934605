"""Rules about code that ruff has no check for: sizes, and attributes that are set from outside.

python -m lab.code_rules            # prints what breaks them; status 1 if anything does

- A module has at most 400 lines, a function at most 60.
- Nothing imports from a module of tests (``test_*``): what several need is in a module of another name.
- In `src`, code sets attributes of `self` only. What an object needs, such as a callback, is given to it when it is
  constructed, so it is complete from then on. Two things are allowed: fields of plain data (a `Struct` or dataclass
  that is not frozen, and a field that holds no callable), and attributes of a library's objects (a local variable that
  a library's call returned, or of type `Any`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

MODULE_LINES, FUNCTION_LINES = 400, 60
ROOT = Path(__file__).parent.parent
CHECKED = ("src", "lab", "tests", "charts")
IMPORTS_CHECKED = ("tests", "lab", "bench")

PRODUCT = "ipvsagent"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Check all modules; print what is wrong."""
    texts = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for f in CHECKED for p in (ROOT / f).rglob("*.py")}
    found = violations(dict(sorted(texts.items())))
    found += [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for folder in IMPORTS_CHECKED
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, problem in imports_of_tests(ast.parse(path.read_text(encoding="utf-8")))
    ]
    for line in found:
        print(line)
    return 1 if found else 0


def violations(texts: dict[str, str]) -> list[str]:
    """Return what breaks the rules, one line each.

    Args:
        texts: the modules to check, by path.
    """
    fields = {name for text in texts.values() for name in data_fields(ast.parse(text))}
    found: list[str] = []
    for path, text in texts.items():
        tree = ast.parse(text)
        problems = [*_too_long(text, tree)]
        if path.startswith("src/"):
            problems += _set_from_outside(tree, fields)
        found += [f"{path}:{line}: {problem}" for line, problem in sorted(problems)]
    return found


def imports_of_tests(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the imports from modules of tests, with their lines; `lab.test_durations` is none."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for name in names:
            if name.rpartition(".")[2].startswith("test_") and not name.startswith("lab."):
                yield node.lineno, f"imports from the tests in `{name}`; move what it needs to `tests/support`"


def data_fields(tree: ast.Module) -> Iterator[str]:
    """Names of the fields of mutable plain data: classes that are a `Struct` or dataclass and not frozen."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        decorators = [d for d in node.decorator_list if "dataclass" in ast.unparse(d)]
        options = [*node.keywords, *(k for d in decorators if isinstance(d, ast.Call) for k in d.keywords)]
        is_data = bool(decorators) or any(ast.unparse(base) == "Struct" for base in node.bases)
        if not is_data or any(k.arg == "frozen" for k in options):
            continue
        for item in node.body:
            match item:
                case ast.AnnAssign(target=ast.Name(name), annotation=annotation):
                    if "Callable" not in ast.unparse(annotation):
                        yield name


def _too_long(text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    lines = len(text.splitlines())
    if lines > MODULE_LINES:
        yield 1, f"the module has {lines} lines; at most {MODULE_LINES} are allowed"
    for node in ast.walk(tree):
        length = (node.end_lineno or 0) - node.lineno + 1 if isinstance(node, Function) else 0
        if isinstance(node, Function) and length > FUNCTION_LINES:
            yield node.lineno, f"`{node.name}` has {length} lines; at most {FUNCTION_LINES} are allowed"


def _set_from_outside(tree: ast.Module, fields: set[str]) -> Iterator[tuple[int, str]]:
    modules, library_names = _imported(tree)
    for scope in (n for n in ast.walk(tree) if isinstance(n, Function | ast.Module)):
        allowed = {"self", "cls"} | modules | _library_objects(scope, library_names)
        for target in _assigned(_own_nodes(scope)):
            outside = not (isinstance(target.value, ast.Name) and target.value.id in allowed)
            if outside and target.attr not in fields:
                yield target.lineno, f"`{ast.unparse(target)}` is set from outside; give it to the constructor"


def _imported(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names of imported library modules, and all names that come from libraries."""
    modules: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = {(a.asname or a.name).partition(".")[0] for a in node.names if not a.name.startswith(PRODUCT)}
            modules |= found
            names |= found
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PRODUCT):
            names |= {a.asname or a.name for a in node.names}
    return modules, names


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module without those of functions inside of it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Function):
            yield from _own_nodes(child)


def _library_objects(scope: ast.AST, library_names: set[str]) -> set[str]:
    """Local variables of type `Any`, and those that the call of a library returned."""
    found: set[str] = set()
    for node in _own_nodes(scope):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if ast.unparse(node.annotation) == "Any":
                found.add(node.target.id)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            root: ast.expr = node.value.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in library_names:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _assigned(nodes: Iterable[ast.AST]) -> Iterator[ast.Attribute]:
    """The attributes that statements set; `+=` changes a value and sets no callback."""
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                    yield part


if __name__ == "__main__":
    sys.exit(main())
