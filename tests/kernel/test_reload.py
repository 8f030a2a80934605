"""A new configuration under load: a thousand Services change, and no connection notices."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from kernel.load import Load
from kernel.manifests import many_services
from kernel.node import Node
from kernel.processes import wait_for

SERVICES = 1000
HELD = 20
FIRST_PORT = 20000
"""Held connections have source ports that no other connection gets: IPVS tells the answers of two connections apart by
client address, client port and real server alone, and all of these Services share one."""


def test_a_new_scheduler_for_a_thousand_services_drops_no_connection_and_a_bad_file_changes_nothing(
    node: Node, record_property: Callable[[str, object], None]
) -> None:
    """DEV-46, DEV-47, CFG-20, CFG-50: in place, while requests go on; what the file says of the start is named.

    New connections may be refused while the kernel replaces the scheduler of their virtual server
    (docs/concepts/limits.md); open ones never notice.
    """
    node.manifests.write("many", *many_services(SERVICES))
    agent = node.start_agent()
    wait_for(lambda: len(node.table()) == SERVICES, "all Services are served")
    vips = [name.partition(":")[0] for name in sorted(node.table())]
    with ExitStack() as held, Load(node, "client", "tcp", vips[0], 80) as load:
        step = SERVICES // HELD
        connections = [
            held.enter_context(node.connect("client", "tcp", vip, 80, source_port=FIRST_PORT + number))
            for number, vip in enumerate(vips[::step])
        ]
        pods = [connection.ask().pod for connection in connections]
        for scheduler in ("lc", "sh"):
            node.configure(ipvs={"scheduler": scheduler})
            wait_for(partial(node.uses_only, scheduler), f"every virtual server has `{scheduler}`")
            assert [connection.ask().pod for connection in connections] == pods
            load.wait_for_more(count=5)
        node.configure(ipvs={"scheduler": "lcc"}, logging={"format": "json"})
        wait_for(lambda: "new configuration refused" in agent.stderr, "the bad file is refused")
        assert node.uses_only("sh")
        node.configure(ipvs={"scheduler": "wlc"}, logging={"format": "json"}, oomScoreAdj=0)
        wait_for(partial(node.uses_only, "wlc"), "the next file is followed")
        assert [connection.ask().pod for connection in connections] == pods
        load.wait_for_more(count=5)
    assert {type(error) for error in load.failures} <= {ConnectionRefusedError}
    assert len(load.failures) < load.answers.total()
    assert len(node.table()) == SERVICES
    assert "fields of the new configuration need a restart fields=oomScoreAdj" in agent.stderr
    wait_for(lambda: '"message": "configuration applied"' in agent.stderr, "log lines are JSON")
    applied = next(line for line in agent.stderr.splitlines() if '"message": "configuration applied"' in line)
    assert json.loads(applied)["scheduler"] == "wlc"
    record_property("requests", load.answers.total())
    record_property("refused", len(load.failures))
