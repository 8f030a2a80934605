"""Kernel settings in a folder that stands for /proc/sys, and in the real one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ipvsagent.errors import InvalidRequest, KernelError, NotFound, NotPermitted
from ipvsagent.kernel.sysctls import SysctlDriver

KEY = "net/ipv4/vs/conntrack"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one setting."""
    (tmp_path / KEY).parent.mkdir(parents=True)
    (tmp_path / KEY).write_text("0\n", encoding="ascii")
    return tmp_path


def test_a_value_comes_without_its_line_end(root: Path) -> None:
    """As the kernel writes it, with one."""
    assert SysctlDriver(root).read(KEY) == "0"


def test_blanks_within_a_value_stay(root: Path) -> None:
    """Settings of several numbers have tabs between them."""
    (root / KEY).write_text("4096\t131072\t6291456\n", encoding="ascii")
    assert SysctlDriver(root).read(KEY) == "4096\t131072\t6291456"


def test_a_written_value_is_read_back(root: Path) -> None:
    """SYS-01."""
    driver = SysctlDriver(root)
    driver.write(KEY, "1")
    assert driver.read(KEY) == "1"


def test_an_unknown_key_is_not_found(root: Path) -> None:
    """Nothing is made in its place; keys of a module that is not loaded are unknown."""
    driver = SysctlDriver(root)
    with pytest.raises(NotFound, match="read kernel setting net/ipv4/vs/unknown"):
        driver.read("net/ipv4/vs/unknown")
    with pytest.raises(NotFound, match="write kernel setting net/ipv4/vs/unknown"):
        driver.write("net/ipv4/vs/unknown", "1")
    assert [p.name for p in (root / "net/ipv4/vs").iterdir()] == ["conntrack"]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, NotPermitted),
        (errno.EPERM, NotPermitted),
        (errno.EINVAL, InvalidRequest),
        (errno.ENOENT, NotFound),
        (errno.EROFS, KernelError),
    ],
)
def test_the_kernels_errors_keep_their_number(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[KernelError]
) -> None:
    """The class tells what a caller can do about it."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    driver = SysctlDriver(root)
    for attempt in (lambda: driver.read(KEY), lambda: driver.write(KEY, "1")):
        with pytest.raises(KernelError) as caught:
            attempt()
        assert type(caught.value) is error
        assert caught.value.errno == number


def test_the_running_kernel_tells_its_release() -> None:
    """Without a root given it is this machine's kernel."""
    assert SysctlDriver().read("kernel/ostype") == "Linux"


def test_the_running_kernel_knows_no_invented_key() -> None:
    """Reading and writing tell the same."""
    with pytest.raises(NotFound):
        SysctlDriver().read("net/ipv4/no_such_setting")
    with pytest.raises(NotFound):
        SysctlDriver().write("net/ipv4/no_such_setting", "1")


def test_settings_of_the_network_may_be_mounted_elsewhere(tmp_path: Path) -> None:
    """A container without privileges writes to a mount of the host's, and reads all else where it always is."""
    mounted = tmp_path / "host"
    (mounted / "ipv4/vs").mkdir(parents=True)
    (mounted / "ipv4/vs/conntrack").write_text("0\n", encoding="ascii")
    driver = SysctlDriver(network=mounted)
    driver.write(KEY, "1")
    assert (mounted / "ipv4/vs/conntrack").read_text(encoding="ascii").strip() == "1"
    assert driver.read("kernel/ostype") == "Linux"


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("net/ipv4/vs/conntrack", " (`CONFIG_IP_VS_NFCT`)"),
        ("net/netfilter/nf_conntrack_max", " (module `nf_conntrack`, `CONFIG_NF_CONNTRACK`)"),
        ("net/other", ""),
    ],
)
def test_a_missing_setting_names_the_part_that_it_belongs_to(tmp_path: Path, key: str, part: str) -> None:
    """DEV-82."""
    with pytest.raises(NotFound) as caught:
        SysctlDriver(tmp_path).read(key)
    assert str(caught.value) == f"read kernel setting {key}: the kernel has no such setting{part}"
