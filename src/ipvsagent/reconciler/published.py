"""The door out: the values that other threads read from the owner thread.

The owner thread replaces each value as a whole, and a value never changes afterwards. Therefore readers need no lock
and never wait for a pass.
"""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.model.status import Status


class Published:
    """The latest values.

    Attributes:
        status: after the last pass.
        settings: in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.status = Status()
        self.settings = settings
