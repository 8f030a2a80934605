"""Source ranges of load balancer addresses, in any spelling and misspelling: no access rule opens by mistake."""

from __future__ import annotations

import ipaddress
import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import Kind, Service
from ipvsagent.planner.services import plan_service
from ipvsagent.source.decode import Usable, decode_json
from support.builders import NODE

VIPS = {4: "203.0.113.5", 6: "2001:db8::5"}
SETS = {4: "KUBE-LOAD-BALANCER-", 6: "KUBE-6-LOAD-BALANCER-"}
GOOD = ["10.0.0.0/8", "203.0.113.0/24", "192.0.2.9/32", "fd00::/8", "2001:db8::/32", "::ffff:10.0.0.0/104"]
OPEN = ["0.0.0.0/0", "::/0"]
CHARACTERS = "0123456789abcdefx.:/-, %*"


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A range with a character left out, doubled, replaced or put in."""
    text = draw(st.sampled_from(GOOD))
    at = draw(st.integers(0, len(text)))
    new = draw(st.text(CHARACTERS, max_size=2))
    return text[:at] + new + text[at + draw(st.integers(0, 2)) :]


RANGES: st.SearchStrategy[list[object]] = st.lists(
    st.one_of(
        st.sampled_from(GOOD + OPEN),
        mutated(),
        st.text(CHARACTERS, max_size=20),
        st.text(max_size=5),
        st.sampled_from([None, 5, True, [], {}]),
    ),
    min_size=1,
    max_size=4,
)


@given(RANGES)
def test_a_range_that_cannot_be_read_opens_nothing(ranges: list[object]) -> None:
    """DEV-60: an address is open only if a range says so, or if all ranges can be read and are of the other family."""
    read = [meaning(item) for item in ranges]
    entries, problems = planned(ranges)
    for version, vip in VIPS.items():
        mine = {n for n in read if n is not None and n.version == version}
        open_by_range = any(n.prefixlen == 0 for n in mine)
        of_other_family = not mine and None not in read
        guarded = f"{SETS[version]}FW {vip},tcp:80" in entries
        assert guarded is not (open_by_range or of_other_family)
        if guarded:
            name = (SETS[version] + "SOURCE-CIDR")[:31]
            let_in = {e.rpartition(",")[2] for e in entries if e.startswith(f"{name} {vip},")}
            assert let_in == {str(n).removesuffix(f"/{n.max_prefixlen}") for n in mine}
    assert bool(problems) >= (None in read)


def planned(ranges: list[object]) -> tuple[set[str], list[str]]:
    """Set entries and problems of a Service with these ranges and a load balancer address of each family."""
    tree = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10", "fd00:96::10"],
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"port": 80}],
            "loadBalancerSourceRanges": ranges,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": vip} for vip in VIPS.values()]}},
    }
    decoded = decode_json(Kind.SERVICE, msgspec.json.encode(tree))
    assert isinstance(decoded, Usable)
    assert isinstance(decoded.object, Service)
    plan = plan_service(decoded.object, (), node=NODE, settings=Settings())
    entries = {str(e) for f in plan.frontends for e in f.entries}
    return entries, [str(p) for p in (*decoded.problems, *plan.problems)]


def meaning(item: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """What a range means by the standard library, after leading zeros are taken away; None if nothing."""
    if not isinstance(item, str) or "/" not in item:
        return None
    head, _, tail = item.strip().partition("/")
    if not re.fullmatch(r"[0-9]+", tail) or "%" in head:
        return None
    if ":" not in head and not re.fullmatch(r"[0-9.]+", head):
        return None
    plain = re.sub(r"(?<![0-9a-fA-F])0+(?=[0-9a-fA-F])", "", head)
    try:
        network = ipaddress.ip_network(f"{plain}/{int(tail)}", strict=False)
        mapped = getattr(ipaddress.ip_address(plain), "ipv4_mapped", None)
    except ValueError:
        return None
    if mapped is None:
        return network
    length = int(tail) - 96
    return ipaddress.ip_network(f"{mapped}/{length}", strict=False) if length > 0 else None
