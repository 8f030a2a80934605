"""Choose scheduler and flags of a Service's virtual servers (VS-02, VS-03, DEV-15)."""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import Problem, Service
from ipvsagent.planner.facts import NodeFacts


def choose_scheduling(
    service: Service, node: NodeFacts, settings: Settings, problems: list[Problem]
) -> tuple[str, int]:
    """Return the scheduler and its flags: those that the Service requests, if the node has them.

    Each scheduler interprets the flags differently. If a Service's scheduler is not available, it gets the cluster's
    scheduler with the cluster's flags. Flags of another scheduler than the Service's are ignored.

    Args:
        problems: problems are added to this list.
    """
    asked = service.scheduling
    cluster = settings.scheduler
    if asked is None:
        return cluster, settings.effective_flags
    scheduler = asked.scheduler or cluster
    if scheduler != cluster and scheduler in node.missing_schedulers:
        what = f"`{scheduler}` is not available on this node (module `ip_vs_{scheduler}`)"
        reason = f"{what}; the cluster's scheduler `{cluster}` is used"
        problems.append(Problem("Service", str(service.key), asked.scheduler_field, reason))
        return cluster, settings.effective_flags
    if asked.flags is None:
        return scheduler, settings.flags_of(scheduler)
    if asked.flags_for not in ("", scheduler):
        reason = f"are flags of `{asked.flags_for}`, but the scheduler is `{scheduler}`; they are ignored"
        problems.append(Problem("Service", str(service.key), asked.flags_field, reason))
        return scheduler, settings.flags_of(scheduler)
    return scheduler, asked.flags
