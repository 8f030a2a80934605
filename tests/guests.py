"""Which test runs in which guest: user-mode-linux where it can, QEMU where it must.

A run with ``--guest-selection quick`` runs each test in user-mode-linux, and in QEMU what asks for it by a marker. Of
the tests that run with each iptables variant, `legacy` runs in user-mode-linux and `nft` in QEMU. With ``all``, the
default, each test runs in every guest that can run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

Selection = Literal["quick", "all"]
GUESTS = ("uml", "qemu")
NEEDS, ALSO, QUICK = "needs_guest", "also_in_qemu", "quick_in"
PLACES = (*GUESTS, "native")
NATIVE_MARK = pytest.mark.quick_in("native", reason="this machine's own kernel shows the same, without a guest")
NFT_MARK = pytest.mark.needs_guest("qemu", reason="the kernel of user-mode-linux has no nf_tables")
MARKERS = (
    f"{NEEDS}(guest, reason): runs in one guest only, `uml` or `qemu`; the reason is obligatory",
    f"{ALSO}(reason): a quick run includes it in QEMU as well; the reason is obligatory",
    f"{QUICK}(place, reason): a quick run includes it in `uml`, `qemu` or `native` alone; the reason is obligatory",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test says about guests.

    Attributes:
        only: the one guest that can run it; empty: any.
        also_in_qemu: a quick run includes it in QEMU, too.
        quick: the one place in which a quick run includes it; empty: as the others say.
    """

    only: str = ""
    also_in_qemu: bool = False
    quick: str = ""

    def runs_in(self, guest: str, selection: Selection) -> bool:
        """Whether a run in a guest includes the test."""
        if self.only and guest != self.only:
            return False
        if selection == "all":
            return True
        if self.quick:
            return guest == self.quick
        return bool(self.only) or guest == "uml" or self.also_in_qemu


def wanted(item: pytest.Item) -> Wanted:
    """What the markers of a test say.

    Raises:
        pytest.UsageError: a marker without a reason, or with an unknown guest.
    """
    only, quick = _place(item, NEEDS, GUESTS), _place(item, QUICK, PLACES)
    also = list(item.iter_markers(ALSO))
    for mark in (*item.iter_markers(NEEDS), *item.iter_markers(QUICK), *also):
        if not str(mark.kwargs.get("reason", "")).strip():
            raise pytest.UsageError(f"{item.nodeid}: {mark.name} needs a reason")
    return Wanted(only, bool(also), quick)


def _place(item: pytest.Item, marker: str, places: Sequence[str]) -> str:
    """Return the place that the nearest marker of a name gives; empty if there is none."""
    mark = item.get_closest_marker(marker)
    if mark is None:
        return ""
    place = str(_one_argument(item, mark))
    if place not in places:
        raise pytest.UsageError(f"{item.nodeid}: {marker}: `{place}` is none of {', '.join(places)}")
    return place


def select(
    items: Iterable[pytest.Item], guest: str, selection: Selection
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Divide tests into those that run in a guest and the others."""
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (chosen if wanted(item).runs_in(guest, selection) else others).append(item)
    return chosen, others


def _one_argument(item: pytest.Item, mark: pytest.Mark) -> object:
    if len(mark.args) != 1:
        raise pytest.UsageError(f"{item.nodeid}: {mark.name} needs the name of one place")
    return mark.args[0]
