"""Parse the output of iptables-save, and compute the commands that change it into the wanted rules.

Both drivers read text and write commands: the nft one as lines for iptables-restore, the legacy one as calls of
libiptc in a child process. The comparison is here, on values, so that both variants do the same.

The rules of our chains are compared word by word with `Rule.words`. In built-in chains only our jumps are compared;
other rules are never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from ipvsagent.model.address import Family
from ipvsagent.model.rules import TableRules, quote

Words = tuple[str, ...]
"""A rule as iptables-save prints it after ``-A CHAIN``, unquoted."""

# A word is bare, or in double quotes with backslashes before quotes and backslashes.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")


class ObservedTable(Struct, frozen=True):
    """One table as the kernel holds it: the rules of each chain, in order."""

    builtin: dict[str, tuple[Words, ...]]
    chains: dict[str, tuple[Words, ...]]


class Declare(Struct, frozen=True, tag=True):
    """Create a chain, or empty it if it exists."""

    chain: str


class Append(Struct, frozen=True, tag=True):
    """Add a rule at the end of a chain."""

    chain: str
    words: Words


class Insert(Struct, frozen=True, tag=True):
    """Insert a rule into a chain at a position; 1 is the top."""

    chain: str
    position: int
    words: Words


class Delete(Struct, frozen=True, tag=True):
    """Delete the first rule with these words from a chain."""

    chain: str
    words: Words


class DeleteChain(Struct, frozen=True, tag=True):
    """Remove an empty chain that nothing jumps to."""

    chain: str


Command = Declare | Append | Insert | Delete | DeleteChain


class TableCommands(Struct, frozen=True):
    """Changes of one table that are committed together."""

    table: str
    commands: tuple[Command, ...]


EMPTY_TABLE = ObservedTable({}, {})


def split_words(text: str) -> Words:
    """Split a line into words as iptables-restore does, undoing quotes."""
    return tuple(_ESCAPE.sub(r"\1", quoted) if bare == "" else bare for quoted, bare in _WORD.findall(text))


def parse_save(text: str) -> dict[str, ObservedTable]:
    """Read the output of iptables-save: tables by name; comments and counters are dropped."""
    tables: dict[str, tuple[dict[str, list[Words]], dict[str, list[Words]]]] = {}
    builtin: dict[str, list[Words]] = {}
    chains: dict[str, list[Words]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            builtin, chains = {}, {}
            tables[line[1:].strip()] = builtin, chains
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            (chains if policy == "-" else builtin)[name] = []
        elif line.startswith("-A "):
            _, name, *words = split_words(line)
            (chains if name in chains else builtin)[name].append(tuple(words))
    return {
        name: ObservedTable(
            {chain: tuple(rules) for chain, rules in inner.items()},
            {chain: tuple(rules) for chain, rules in own.items()},
        )
        for name, (inner, own) in tables.items()
    }


def replacement(observed: ObservedTable, rules: TableRules, family: Family) -> tuple[Command, ...]:
    """Return the commands that write our chains and jumps; none if the table already has them.

    A correct chain is not written, so it keeps its counters. A jump that exists keeps its position; of several copies
    the first one is kept. Missing jumps are inserted at the top, in the order given.
    """
    wanted = {chain.name: tuple(rule.words(family) for rule in chain.rules) for chain in rules.chains}
    wrong = [name for name, words in wanted.items() if observed.chains.get(name) != words]
    commands: list[Command] = [Declare(name) for name in wrong]
    commands += [Append(name, words) for name in wrong for words in wanted[name]]
    for builtin, jumps in _jumps_by_chain(rules, family).items():
        commands += _jump_commands(builtin, observed.builtin.get(builtin, ()), jumps)
    return tuple(commands)


def removal(observed: ObservedTable, rules: TableRules, family: Family) -> tuple[tuple[Command, ...], tuple[str, ...]]:
    """Return the commands that remove our jumps and chains, whatever the chains contain.

    Returns:
        The commands, and the chains that are emptied but not removed, because a rule that is not ours jumps to them.
    """
    ours = [chain.name for chain in rules.chains if chain.name in observed.chains]
    jumps = _jumps_by_chain(rules, family)
    commands: list[Command] = [Declare(name) for name in ours]
    for builtin, words in jumps.items():
        commands += [Delete(builtin, rule) for rule in observed.builtin.get(builtin, ()) if rule in words]
    needed = _destinations(observed, jumps, frozenset(ours))
    commands += [DeleteChain(name) for name in ours if name not in needed]
    return tuple(commands), tuple(name for name in ours if name in needed)


def list_ours(observed: ObservedTable, rules: TableRules, family: Family) -> list[str]:
    """Return our chains and jumps in the table, one line each."""
    lines = [f"{rules.table} {chain.name}" for chain in rules.chains if chain.name in observed.chains]
    for builtin, jumps in _jumps_by_chain(rules, family).items():
        present = observed.builtin.get(builtin, ())
        lines += [f"{rules.table} {builtin} -j {words[-1]}" for words in jumps if words in present]
    return lines


def restore_lines(commands: TableCommands) -> Iterator[str]:
    """Yield the commands as input of ``iptables-restore --noflush``, which applies them as one transaction."""
    yield f"*{commands.table}"
    for command in commands.commands:
        match command:
            case Declare(chain):
                yield f":{chain} - [0:0]"
            case Append(chain, words):
                yield _line("-A", chain, words)
            case Insert(chain, position, words):
                yield _line("-I", chain, (str(position), *words))
            case Delete(chain, words):
                yield _line("-D", chain, words)
            case DeleteChain(chain):
                yield f"-X {chain}"
    yield "COMMIT"


def _line(option: str, chain: str, words: Iterable[str]) -> str:
    return " ".join((option, chain, *(quote(word) for word in words)))


def _jumps_by_chain(rules: TableRules, family: Family) -> dict[str, list[Words]]:
    jumps: dict[str, list[Words]] = {}
    for jump in rules.jumps:
        jumps.setdefault(jump.builtin, []).append(jump.rule.words(family))
    return jumps


def _jump_commands(builtin: str, present: tuple[Words, ...], jumps: list[Words]) -> list[Command]:
    """Return the commands after which each jump is in the built-in chain exactly once.

    Copies are deleted by their content, not by their position: if another program moves them meanwhile, no foreign
    rule is deleted. This always deletes the first copy, so all copies are deleted, and one is inserted at the first
    one's position.
    """
    commands: list[Command] = []
    doubled = [words for words in jumps if present.count(words) > 1]
    commands += [Delete(builtin, words) for words in present if words in doubled]
    commands += [Insert(builtin, position, words) for position, words in _first_copies(present, doubled)]
    missing = [words for words in jumps if words not in present]
    commands += [Insert(builtin, position, words) for position, words in enumerate(missing, start=1)]
    return commands


def _first_copies(present: tuple[Words, ...], doubled: list[Words]) -> Iterator[tuple[int, Words]]:
    """Yield the position of the first copy of each duplicate rule after the other copies are removed, from the top."""
    seen: set[Words] = set()
    position = 0
    for words in present:
        if words in seen:
            continue
        position += 1
        if words in doubled:
            seen.add(words)
            yield position, words


def _destinations(observed: ObservedTable, jumps: dict[str, list[Words]], ours: frozenset[str]) -> frozenset[str]:
    """Return our chains that foreign rules jump to, by ``-j`` or ``-g``."""
    foreign = [rule for name, rules in observed.chains.items() if name not in ours for rule in rules]
    for name, rules in observed.builtin.items():
        foreign += [rule for rule in rules if rule not in jumps.get(name, ())]
    return frozenset(rule[i + 1] for rule in foreign for i, word in enumerate(rule[:-1]) if word in ("-j", "-g"))
