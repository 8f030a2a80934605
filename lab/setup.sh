#!/bin/bash
# Make this machine ready for every target of the Makefile: Debian packages, and a virtual environment in .venv.
#
#   setup.sh [--python-only]
#
# May be run again at any time: it installs what is missing and ends at once when nothing is. With --python-only it
# makes .venv alone, which needs neither root nor Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

instead='`make test-portable` runs the tests that need no guest, with Python 3.11 or newer and a C compiler alone'

fail() {
    echo "error: $1; $instead" >&2
    exit 1
}

packages=(
    qemu-system-x86 busybox-static linux-image-amd64 kmod udev                  # the guest
    user-mode-linux gcc libc6-dev                                                # the quick guest; python-iptables
    iproute2 ipvsadm ipset iptables nftables conntrack procps util-linux         # what tests and demo look with
    prometheus                                                                   # it judges our metrics
    debootstrap                                                                  # the image without a container engine
    golang-github-containers-common netavark libseccomp2                         # seccomp's default profile
    python3 python3-venv python3-dev make git ca-certificates openssl
)

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        fail "this is not Debian 12 or newer, and packages can be installed with apt-get alone"
    for package in "${packages[@]}"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || fail "these packages are missing and only root can install them: ${missing[*]}"
    echo "installing packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# Debian's own python3, if it is there: others start three times slower in the guest, which cannot cache what they import.
newest_python() {
    local python
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    fail "there is no Python 3.11 or newer with the module \`venv\`"
}

make_environment() {
    local stamp
    stamp=$(cat pyproject.toml constraints.txt lab/setup.sh | sha256sum)
    if [ -x .venv/bin/ipvsagent ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    echo "installing Python packages into .venv"
    if [ ! -x .venv/bin/python ]; then
        local python
        python=$(newest_python)
        command -v cc gcc >/dev/null || fail "there is no C compiler, which python-iptables is built with"
        "$python" -m venv .venv
    fi
    # Both names, for old and new pip: the versions that build packages are pinned, too.
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
        .venv/bin/python -m pip install --quiet --use-pep517 -e '.[dev,docs,lab]' </dev/null
    # The guest cannot keep compiled modules; compiled here, they halve the time of every start there.
    .venv/bin/python -m compileall -q .venv/lib >/dev/null || true # some packages ship files that do not compile
    echo "$stamp" >.venv/.stamp
}

[ "${1-}" = --python-only ] || install_packages
make_environment
lab/helm.sh
