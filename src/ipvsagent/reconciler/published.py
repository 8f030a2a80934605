"""The door out: what other threads read of the owner thread.

The owner thread replaces each value as a whole, and no value changes after that. So a reader needs no lock, and never
waits for a pass.
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
