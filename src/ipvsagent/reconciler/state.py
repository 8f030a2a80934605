"""The state of the owner thread: one value, and who may change each part of it.

| Part | Its single writer | Its readers |
|---|---|---|
| `settings` | `configuration.py` | the loop, which passes them to the rooms |
| `objects` | `objects/cache.py`, from the messages that the loop takes in | `plans/`, `node/`, `writing/draining.py` |
| `facts` | `plans/replanning.py`, from what `node/facts.py` reads and `plans/schedulers.py` loads | `plans/`, status |
| `desired` | `plans/replanning.py` | `writing/`, status |
| `ledger` | `ledger/ledger.py`: only its methods, as types enforce | `writing/`, `ledger/verification.py` |

`writing/` reports acknowledged operations to the ledger, `ledger/` what it read from the kernel. `objects`,
`desired` and `ledger` stay the same object as long as the process lives; `settings` and `facts` are immutable and
are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ipvsagent.config.types import Settings
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.objects.cache import ObjectCache


@dataclass(slots=True)
class State:
    """All state of the owner thread that more than one room uses.

    Attributes:
        settings: in force.
        objects: what Kubernetes says.
        facts: what plans must know about this node.
        desired: what the kernel should hold.
        ledger: what the kernel holds, as acknowledged or as read.
    """

    settings: Settings
    objects: ObjectCache
    facts: NodeFacts
    desired: Desired = field(default_factory=Desired)
    ledger: Ledger = field(default_factory=Ledger)
