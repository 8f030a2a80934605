#!/bin/bash
# Make this machine ready for every target of the Makefile: Debian packages, and a virtual environment in .venv.
#
# May be run again at any time: it does what is missing and is done at once when nothing is.
set -euo pipefail
cd "$(dirname "$0")/.."

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
    for package in "${packages[@]}"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "error: packages are missing: ${missing[*]}" >&2
        echo "hint: run this as root, or \`apt-get install ${missing[*]}\`" >&2
        exit 1
    fi
    echo "installing packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# Debian's own python3: others start three times slower in the guest, which cannot cache what they import.
make_environment() {
    local stamp
    stamp=$(cat pyproject.toml constraints.txt lab/setup.sh | sha256sum)
    if [ -x .venv/bin/ipvsagent ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    echo "installing Python packages into .venv"
    [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
    # Both names, for old and new pip: the versions that build packages are pinned, too.
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
        .venv/bin/python -m pip install --quiet --use-pep517 -e '.[dev,docs,lab]' </dev/null
    # The guest cannot keep compiled modules; compiled here, they halve the time of every start there.
    .venv/bin/python -m compileall -q .venv/lib >/dev/null || true # some packages ship files that do not compile
    echo "$stamp" >.venv/.stamp
}

install_packages
make_environment
lab/helm.sh
