"""What the owner thread counts while it works."""

from __future__ import annotations

from msgspec.structs import replace
from unit.reconciler.node import FakeNode

from builders import address, endpoint_slice, service
from ipvsagent.errors import NotFound
