"""A record of the messages sent to the fake kernel."""

from __future__ import annotations

from ipvsagent.model.ops import Operation

LogEntry = Operation | str
"""An operation that succeeded; text for changes that have no operation, such as a new ipset."""


class Journal:
    """The record that all drivers of one fake kernel share.

    Attributes:
        entries: every modifying message that succeeded, in order.
        sends: number of batches sent.
    """

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.sends = 0

    def record(self, entry: LogEntry) -> None:
        """Record a change that succeeded."""
        self.entries.append(entry)

    def count_batch(self, size: int) -> None:
        """Count a batch; an empty batch sends nothing."""
        self.sends += bool(size)

    def clear(self) -> None:
        """Clear the record."""
        self.entries.clear()
        self.sends = 0
