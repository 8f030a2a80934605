"""Sizes, and attributes that are set from outside."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `lab` is a folder of the repository, not of the package

from lab.code_rules import imports_of_tests, violations


def test_a_module_may_have_400_lines_and_no_more() -> None:
    """The line count is that of the file, comments and blank lines included."""
    assert violations({"src/a.py": "x = 1\n" * 400}) == []
    assert violations({"lab/a.py": "x = 1\n" * 401}) == [
        "lab/a.py:1: the module has 401 lines; at most 400 are allowed"
    ]


def test_a_function_may_have_60_lines_and_no_more() -> None:
    """Methods and functions inside of functions count as well."""
    longest = "class A:\n    def f(self):\n" + "        pass\n" * 59
    assert violations({"src/a.py": longest}) == []
    assert violations({"src/a.py": longest + "        pass\n"}) == [
        "src/a.py:2: `f` has 61 lines; at most 60 are allowed"
    ]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("def f(loop):\n    loop.report = print\n", "loop.report"),
        ("from ipvsagent.a import A\ndef f():\n    a = A()\n    a.report = print\n", "a.report"),
        ("class B:\n    def f(self):\n        self.loop.report = print\n", "self.loop.report"),
        ("class B:\n    def f(self, a):\n        self.x, a.report = 1, print\n", "a.report"),
        ("def f(a):\n    a.report: object = print\n", "a.report"),
        ("class D(Struct):\n    report: Callable[[], None]\ndef f(d):\n    d.report = print\n", "d.report"),
        ("class D(Struct, frozen=True):\n    count: int\ndef f(d):\n    d.count = 1\n", "d.count"),
    ],
)
def test_an_attribute_of_another_object_is_not_set(text: str, target: str) -> None:
    """An object gets what it needs when it is constructed."""
    line = len(text.splitlines())
    assert violations({"src/a.py": text}) == [
        f"src/a.py:{line}: `{target}` is set from outside; give it to the constructor"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "class B:\n    def f(self):\n        self.report = print\n",
        "class D(Struct):\n    count: int = 0\ndef f(d):\n    d.count = 1\n",
        "@dataclass(slots=True)\nclass D:\n    count: int = 0\ndef f(d):\n    d.count = 1\n",
        "import sys\ndef f():\n    sys.excepthook = print\n",
        "import logging\ndef f():\n    logger = logging.getLogger()\n    logger.propagate = False\n",
        "def f():\n    rule: Any = make()\n    rule.src = 'x'\n",
        "def f(d):\n    d.count += 1\n",
    ],
)
def test_own_attributes_plain_data_and_objects_of_libraries_may_be_set(text: str) -> None:
    """Plain data is a mutable struct or dataclass; a library leaves no choice."""
    assert violations({"src/a.py": text}) == []


def test_nothing_may_import_from_a_module_of_tests() -> None:
    """Whoever moves or splits the tests would break others."""
    text = "import json\nfrom kernel.test_reload import uses_only\nfrom lab.test_durations import load\n"
    assert list(imports_of_tests(ast.parse(text))) == [
        (2, "imports from the tests in `kernel.test_reload`; move what it needs to `tests/support`")
    ]
