"""Loading modules with a stand-in for modprobe, on a machine made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipvsagent.errors import KernelError, NotFound, NotPermitted, ToolMissing
from ipvsagent.kernel.modules import ModuleDriver

MODULES_DEP = """\
kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/net/netfilter/ipvs/ip_vs_wlc.ko.xz: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/net/netfilter/ipvs/ip_vs_ftp.ko: kernel/net/netfilter/ipvs/ip_vs.ko kernel/net/netfilter/nf_nat.ko
kernel/net/netfilter/ipvs/ip_vs_pe_sip.ko: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/net/netfilter/xt_ipvs.ko: kernel/net/netfilter/ipvs/ip_vs.ko
"""
MODULES_BUILTIN = "kernel/net/netfilter/ipvs/ip_vs_sh.ko\nkernel/net/bridge/br-netfilter.ko\n"
PROC_MODULES = """\
ip_vs_mh 16384 0 - Live 0x0000000000000000
ip_vs_rr 16384 2 - Live 0x0000000000000000
ip_vs 192512 4 ip_vs_mh,ip_vs_rr, Live 0x0000000000000000
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a machine's files, and one for programs, in which nothing is installed."""
    for name in ("proc", "sys/module/nf_conntrack", "modules", "programs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/modules").write_text(PROC_MODULES, encoding="ascii")
    (tmp_path / "modules/modules.dep").write_text(MODULES_DEP, encoding="ascii")
    (tmp_path / "modules/modules.builtin").write_text(MODULES_BUILTIN, encoding="ascii")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    return tmp_path


def _driver(machine: Path, *, program_folders: str = "") -> ModuleDriver:
    return ModuleDriver(machine / "proc", machine / "sys", machine / "modules", program_folders=program_folders)


def _install_modprobe(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "modprobe"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)


def test_schedulers_are_those_loaded_loadable_or_built_in(machine: Path) -> None:
    """DEV-35: helpers and engines of IPVS that are no schedulers are left out."""
    assert _driver(machine).available_schedulers() == ["mh", "rr", "sh", "wlc"]


def test_a_machine_without_module_files_has_the_schedulers_that_are_loaded(machine: Path) -> None:
    """A container may not see the host's modules."""
    for name in ("modules.dep", "modules.builtin"):
        (machine / "modules" / name).unlink()
    assert _driver(machine).available_schedulers() == ["mh", "rr"]


def test_a_machine_without_module_support_has_no_schedulers(machine: Path) -> None:
    """There is no list of modules, either."""
    for name in ("proc/modules", "modules/modules.dep", "modules/modules.builtin"):
        (machine / name).unlink()
    assert _driver(machine).available_schedulers() == []


@pytest.mark.parametrize("name", ["ip_vs", "ip_vs_rr", "nf_conntrack", "ip_vs_sh", "br_netfilter"])
def test_what_is_loaded_or_built_in_needs_no_modprobe(machine: Path, name: str) -> None:
    """Known from the list of modules, from the kernel's objects, or from the list of built-in ones."""
    _install_modprobe(machine / "programs", f": > {machine}/started")
    _driver(machine).load(name)
    assert not (machine / "started").exists()


@pytest.mark.parametrize("name", ["ip_vs_wlc", "ip_v", "vs_rr"])
def test_what_is_not_loaded_goes_through_modprobe(machine: Path, name: str) -> None:
    """A part of a loaded module's name is another module."""
    _install_modprobe(machine / "programs", f'echo "$@" > {machine}/started')
    _driver(machine).load(name)
    assert (machine / "started").read_text(encoding="ascii") == f"-- {name}\n"


def test_modprobe_is_found_outside_the_path(machine: Path) -> None:
    """A service's PATH often lacks the folders of the administrator's programs."""
    _install_modprobe(machine / "sbin", f": > {machine}/started")
    _driver(machine, program_folders=str(machine / "sbin")).load("dummy")
    assert (machine / "started").exists()


def test_a_missing_modprobe_is_reported_with_its_package(machine: Path) -> None:
    """The module itself may well be there."""
    with pytest.raises(ToolMissing, match=r"load module dummy: `modprobe` is not installed \(package `kmod`\)"):
        _driver(machine).load("dummy")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("modprobe: FATAL: Module dummy not found in directory /lib/modules/6.1.0", NotFound),
        ("modprobe: module dummy not found in modules.dep", NotFound),
        ("modprobe: ERROR: could not insert 'dummy': Operation not permitted", NotPermitted),
        ("modprobe: can't load module dummy (dummy.ko): Permission denied", NotPermitted),
        ("modprobe: ERROR: could not insert 'dummy': Exec format error", KernelError),
        ("/sbin/modprobe: 2: insmod: not found", KernelError),
        ("", KernelError),
    ],
)
def test_modprobes_words_decide_which_error_it_is(machine: Path, message: str, error: type[KernelError]) -> None:
    """Those of kmod, and those of busybox."""
    _install_modprobe(machine / "programs", f'echo "{message}" >&2; exit 1')
    with pytest.raises(KernelError) as caught:
        _driver(machine).load("dummy")
    assert type(caught.value) is error
    assert caught.value.detail == message


def test_a_modprobe_that_cannot_be_started_is_reported(machine: Path) -> None:
    """Such as one for another processor."""
    program = machine / "programs/modprobe"
    program.write_bytes(b"\x7fELF is all it has of a program")
    program.chmod(0o755)
    with pytest.raises(KernelError, match=r"load module dummy: .*Exec format error"):
        _driver(machine).load("dummy")


def test_a_built_in_scheduler_is_found_in_the_kernel_itself_where_no_list_of_modules_is(machine: Path) -> None:
    """DEV-66: the symbols of a loaded module carry its name, those of a built-in one do not."""
    for name in ("modules.dep", "modules.builtin"):
        (machine / "modules" / name).unlink()
    (machine / "proc/kallsyms").write_text(
        "0000000000000000 t ip_vs_wrr_schedule\n"
        "0000000000000000 T ip_vs_schedule\n"
        "0000000000000000 t ip_vs_lc_schedule\t[ip_vs_lc]\n",
        encoding="ascii",
    )
    driver = _driver(machine)
    assert driver.available_schedulers() == ["mh", "rr", "wrr"]
    driver.load("ip_vs_wrr")
    with pytest.raises(ToolMissing):
        driver.load("ip_vs_sed")
