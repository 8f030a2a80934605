"""Trace a sample packet through saved rules; the result may be unknown.

Only a few kinds of match are supported; a rule with another kind may or may not match. Therefore a packet counts as
dropped only if a rule certainly drops it and no earlier rule may have accepted it.
"""

from __future__ import annotations

import enum

from msgspec import Struct

from ipvsagent.doctor.snapshot import SavedRules, Words
from ipvsagent.model.address import Address, Network

_DEPTH = 16  # of nested chains; the kernel rejects loops


class Packet(Struct, frozen=True):
    """The first packet of a connection that arrives at the node.

    Args:
        source: None if it may be any.
        destination: None if it may be any.
    """

    protocol: str
    port: int
    source: Address | None = None
    destination: Address | None = None


class Fate(enum.Enum):
    """The result for a packet."""

    ACCEPTED = enum.auto()  # certainly or possibly
    DROPPED = enum.auto()
    RETURNED = enum.auto()  # this chain decided nothing
    LEFT = enum.auto()  # a rule left this chain early


class Outcome(Struct, frozen=True):
    """A result, and the rule or policy that decided it."""

    fate: Fate
    because: str = ""


def walk_input(rules: SavedRules, packet: Packet) -> Outcome:
    """Trace a packet through filter INPUT, except the chains of Kubernetes."""
    chains = rules.chains.get("filter", {})
    outcome = _walk(chains, "INPUT", packet, _DEPTH)
    if outcome.fate in (Fate.ACCEPTED, Fate.DROPPED):
        return outcome
    policy = rules.policies.get("filter INPUT", "ACCEPT")
    return Outcome(Fate.DROPPED, f"policy of INPUT is {policy}") if policy == "DROP" else Outcome(Fate.ACCEPTED)


def _walk(chains: dict[str, tuple[Words, ...]], name: str, packet: Packet, depth: int) -> Outcome:
    for rule in chains.get(name, ()):
        holds = matches(rule, packet)
        target = target_of(rule)
        if holds is False or target.startswith("KUBE-"):
            continue
        if target == "ACCEPT" or (holds is None and target == "RETURN"):
            return Outcome(Fate.ACCEPTED)
        if holds and target in ("DROP", "REJECT"):
            return Outcome(Fate.DROPPED, f"-A {name} {' '.join(rule)}")
        if holds and target == "RETURN":
            return Outcome(Fate.LEFT)
        if target in chains and depth:
            outcome = _walk(chains, target, packet, depth - 1)
            if outcome.fate is Fate.ACCEPTED or (holds and outcome.fate is Fate.DROPPED):
                return outcome
    return Outcome(Fate.RETURNED)


def target_of(rule: Words) -> str:
    """Return the chain or verdict after ``-j`` or ``-g``; empty for a rule that only counts."""
    return next((rule[i + 1] for i, word in enumerate(rule[:-1]) if word in ("-j", "-g")), "")


def matches(rule: Words, packet: Packet) -> bool | None:
    """Return whether a rule matches a packet; None if this is unknown."""
    answers: list[bool | None] = []
    negated = False
    words = iter(rule)
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            break
        if word == "-m" or word == "--comment":
            next(words, "")
            continue
        if word.startswith("-"):
            answer = _match(word, next(words, ""), packet)
            answers.append(answer if answer is None else answer is not negated)
        negated = False
    if False in answers:
        return False
    return None if None in answers else True


def ports_of(rule: Words) -> list[range]:
    """Return the destination ports in a rule; empty if there are none."""
    for option in ("--dport", "--dports"):
        if option in rule[:-1]:
            return _ranges(rule[rule.index(option) + 1])
    return []


def _match(option: str, value: str, packet: Packet) -> bool | None:
    match option:
        case "-p":
            return value in ("all", packet.protocol)
        case "-s":
            return _in_network(value, packet.source)
        case "-d":
            return _in_network(value, packet.destination)
        case "-i":
            return False if value == "lo" else None
        case "--dport" | "--dports":
            return any(packet.port in ports for ports in _ranges(value))
        case "--ctstate" | "--state":
            return "NEW" in value.split(",")
        case "--dst-type":
            return True if value == "LOCAL" else None
        case _:
            return None


def _in_network(text: str, address: Address | None) -> bool | None:
    try:
        network = Network.parse(text)
    except ValueError:
        return None
    if network.prefix_length == 0:
        return True
    return None if address is None else address in network


def _ranges(text: str) -> list[range]:
    found = []
    for item in text.split(","):
        low, _, high = item.partition(":")
        if low.isdigit() and (not high or high.isdigit()):
            found.append(range(int(low), int(high or low) + 1))
    return found
