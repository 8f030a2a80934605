"""The ipsets and constant rules of one address family, as far as this kernel can hold them (DEV-81).

Writing is the test: only after a failure the kernel is asked what it lacks. A part that was missing is looked for
again once in a while, so loading a module is enough to mend it.
"""

from __future__ import annotations

from ipvsagent.errors import KernelError, NotFound, NotSupported, ToolMissing
from ipvsagent.kernel.api import Drivers
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.kernel_parts import MissingPart
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import VirtualServerKey
from ipvsagent.planner.kernel_parts import FULL_KERNEL, missing_extension, not_served, without
from ipvsagent.reconciler.node.sets import ensure_sets
from ipvsagent.transient_errors import TRANSIENT_ERRORS

_IPV6_SWITCH = "net/ipv6/conf/all/disable_ipv6"
_ANY_KEY = VirtualServerKey(Protocol.TCP, Address.parse("::1"), 1)


class ServedFamily:
    """Writes sets and rules of one family, and knows which parts of them the kernel lacks.

    Attributes:
        missing: what the kernel lacks, as far as it was found out.
    """

    def __init__(self, drivers: Drivers, family: Family) -> None:
        self._drivers = drivers
        self._rules = drivers.rules[family]
        self.family = family
        self.missing: tuple[MissingPart, ...] = ()

    @property
    def is_served(self) -> bool:
        """Whether all vital parts are there."""
        return not any(part.is_vital for part in self.missing)

    def prepare(self, rules: RuleSet) -> None:
        """Look for what was missing, and write sets and rules.

        Raises:
            KernelError: something failed, and no part is known to be missing.
        """
        if self.missing:
            self.missing = self._look(rules)
        elif unfit := self._unfit():
            self.missing = unfit
        else:
            try:
                ensure_sets(self._drivers, rules)
                self.write_rules(rules)
            except TRANSIENT_ERRORS:
                raise
            except KernelError:
                self.missing = self._look(rules)
                if not self.missing:
                    raise
            else:
                return
        if self.is_served:
            self.write_rules(rules)

    def write_rules(self, rules: RuleSet) -> bool:
        """Write the rules where the kernel's differ, without looking for missing parts; answer whether they did.

        Raises:
            KernelError: they could not be written.
        """
        planned = without(rules, {p.extension for p in self.missing if p.extension})
        if self._rules.matches(planned):
            return False
        self._rules.replace(planned)
        return True

    def _look(self, rules: RuleSet) -> tuple[MissingPart, ...]:
        """Create the sets, to which rules refer, and ask for everything that the rules need."""
        if unfit := self._unfit():
            return unfit
        try:
            ensure_sets(self._drivers, rules)
        except NotSupported as error:
            return (self._vital(error.detail or str(error), FULL_KERNEL),)
        try:
            missing = self._rules.missing(rules)
        except ToolMissing as error:
            return (self._vital(str(error), "install the package `iptables`"),)
        return tuple(missing_extension(e, self.family, self._rules.variant) for e in missing)

    def _unfit(self) -> tuple[MissingPart, ...]:
        """What keeps IPv6 as a whole from being served."""
        if self.family is Family.IPV4:
            return ()
        try:
            if self._drivers.sysctls.read(_IPV6_SWITCH) == "1":
                what = "net.ipv6.conf.all.disable_ipv6 is 1"
                return (self._vital(what, "set it to 0 if IPv6 is to be served", is_chosen=True),)
        except NotFound:
            what = "the kernel has no IPv6 (`CONFIG_IPV6`, or `ipv6.disable=1` at boot)"
            return (self._vital(what, "boot a kernel with IPv6 if it is to be served", is_chosen=True),)
        try:
            self._drivers.ipvs.find_virtual_server(_ANY_KEY)
        except NotSupported:
            return (self._vital("IPVS of this kernel has no IPv6 (`CONFIG_IP_VS_IPV6`)", FULL_KERNEL),)
        return ()

    def _vital(self, what: str, remedy: str, *, is_chosen: bool = False) -> MissingPart:
        return MissingPart(self.family, what, remedy, not_served(self.family), is_chosen=is_chosen)
