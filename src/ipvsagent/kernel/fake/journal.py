"""What was sent to the fake kernel."""

from __future__ import annotations

from ipvsagent.model.ops import Operation

LogEntry = Operation | str
"""An operation that was carried out; text for the changes that are no operation, such as a new ipset."""


class Journal:
    """The record that all drivers of one fake kernel share.

    Attributes:
        entries: every modifying message that was carried out, in order.
        sends: number of batches sent.
    """

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.sends = 0

    def record(self, entry: LogEntry) -> None:
        """Note a change that was carried out."""
        self.entries.append(entry)

    def count_batch(self, size: int) -> None:
        """Note that a batch was sent; an empty one is no message."""
        self.sends += bool(size)

    def clear(self) -> None:
        """Forget what was sent."""
        self.entries.clear()
        self.sends = 0
