"""Which tests a guest runs."""

from __future__ import annotations

import pytest

from guests import Selection, Wanted, wanted

PLAIN, ALSO = Wanted(), Wanted(also_in_qemu=True)


@pytest.mark.parametrize(
    ("test", "selection", "guests"),
    [
        (PLAIN, "quick", {"uml"}),
        (PLAIN, "all", {"uml", "qemu"}),
        (ALSO, "quick", {"uml", "qemu"}),
        (ALSO, "all", {"uml", "qemu"}),
        (Wanted(only="qemu"), "quick", {"qemu"}),
        (Wanted(only="qemu"), "all", {"qemu"}),
        (Wanted(only="uml"), "all", {"uml"}),
        (Wanted(quick="qemu"), "quick", {"qemu"}),
        (Wanted(quick="qemu"), "all", {"uml", "qemu"}),
        (Wanted(only="qemu", quick="native"), "quick", set()),
        (Wanted(only="qemu", quick="native"), "all", {"qemu"}),
    ],
)
def test_a_quick_run_takes_each_test_to_a_guest_and_a_full_one_to_all_that_can_run_it(
    test: Wanted, selection: Selection, guests: set[str]
) -> None:
    """A quick run leaves out of both guests what this machine's own kernel shows, and nothing else."""
    assert {guest for guest in ("uml", "qemu") if test.runs_in(guest, selection)} == guests


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        (pytest.mark.also_in_qemu(), "also_in_qemu needs a reason"),
        (pytest.mark.also_in_qemu(reason=" "), "also_in_qemu needs a reason"),
        (pytest.mark.needs_guest("qemu"), "needs_guest needs a reason"),
        (pytest.mark.needs_guest("kvm", reason="it is fast"), "`kvm` is none of uml, qemu"),
        (pytest.mark.quick_in("native"), "quick_in needs a reason"),
        (pytest.mark.quick_in("kvm", reason="it is fast"), "`kvm` is none of uml, qemu, native"),
        (pytest.mark.needs_guest(reason="none is named"), "needs the name of one place"),
    ],
)
def test_a_marker_without_a_reason_or_with_an_unknown_guest_is_refused(
    request: pytest.FixtureRequest, mark: pytest.MarkDecorator, complaint: str
) -> None:
    """The test is named."""
    request.node.add_marker(mark)
    with pytest.raises(pytest.UsageError, match=complaint):
        wanted(request.node)
