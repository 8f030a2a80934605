#!/bin/bash
# Run one command as root under a throw-away kernel that has IPVS.
#
#   boot.sh [-k qemu|uml] [-t SECONDS] [-o OUTDIR] -- COMMAND [ARG...]
#
# qemu  the newest kernel package of this machine in QEMU, with KVM where the CPU offers it.
# uml   the same kernel version as a user process (package user-mode-linux): boots in 2 s and runs Python at
#       native speed, but has one CPU and no iptables-nft.
#
# The command sees this machine's files, no network, an empty stdin and the current directory. OUTDIR (made if
# absent, also in $OUT) is the one place whose writes last. Other writes are dropped at the end or refused. The
# environment is a plain one with IN_GUEST=qemu or uml; pass further variables with `env NAME=value COMMAND`.
#
# SECONDS: 600 unless given, 0 for no limit.
#
# Exit status: the command's; 2 for wrong usage; 124 when the time was up; 125 when there is no kernel to boot or
# the guest died without a status. Nothing that was started outlives this script.
set -u

usage() {
    echo "usage: ${0##*/} [-k qemu|uml] [-t SECONDS] [-o OUTDIR] -- COMMAND [ARG...]" >&2
    exit 2
}

fail() {
    echo "${0##*/}: $1" >&2
    exit 125
}

kind=qemu limit=600 out=
while getopts k:t:o: option; do
    case $option in
        k) kind=$OPTARG ;;
        t) limit=$OPTARG ;;
        o) out=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ "${1-}" = -- ] && shift
[ $# -gt 0 ] || usage
case $kind in qemu | uml) ;; *) usage ;; esac

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
group=
# All that a process has started, by its number: UML makes a session of its own, which no group covers.
family() {
    local child
    echo "$1"
    for child in $(pgrep -P "$1"); do
        family "$child"
    done
}
finish() {
    [ -n "$group" ] && kill -KILL $(family "$group") -- "-$group" 2>/dev/null
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Command and status pass through a folder of this run alone, so that runs may share an OUTDIR.
control=$scratch/control
out=${out:-$scratch/out}
mkdir -p "$control" "$out" && out=$(readlink -f "$out") || fail "cannot make $out"

# QEMU's guest sees this machine's files without a cache: each start of Python takes ten seconds more. So programs and
# this tree come through a second device, whose files must not change while the guest runs.
cached_device='-fsdev local,id=cached,path=/,security_model=none,readonly=on,multidevs=remap'
cached_device+=' -device virtio-9p-pci,fsdev=cached,mount_tag=cached'
read_through_cache=$(
    cat <<READ
    mkdir -p /run/cached/root /run/cached/upper /run/cached/work /run/cached/out
    mount -t 9p -o ro,version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose cached /run/cached/root &&
        mount --bind $(printf %q "$out") /run/cached/out &&
        mount --bind /run/cached/root$(printf %q "$PWD") $(printf %q "$PWD") &&
        mount --bind /run/cached/out $(printf %q "$out") &&
        mount -t overlay -o lowerdir=/run/cached/root/usr,upperdir=/run/cached/upper,workdir=/run/cached/work usr /usr
READ
)

# What the guest runs: the caller's words, quoted. The command line of a kernel is short, so they go into a file.
{
    echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    echo "export HOME=/root LANG=C.UTF-8 OUT=$(printf %q "$out") IN_GUEST=$kind"
    echo 'export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1'
    [ "$kind" = uml ] || printf 'read_through_cache() {\n%s\n}\nread_through_cache 2>/dev/null\n' "$read_through_cache"
    echo "cd $(printf %q "$PWD")"
    printf '%q ' "$@"
    echo '</dev/null'
    echo "echo \$? > $(printf %q "$control/rc"); sync"
} >"$control/command"

# Run "$@" in a session of its own, its output through the pipe $1, for at most $limit seconds. A session, so that
# all of QEMU's helpers can be ended; a pipe, because QEMU truncates a plain file that is its stdout.
in_session() {
    local pipe=$1
    shift
    setsid timeout -k 5 "$limit" "$@" </dev/null >"$pipe" 2>&1 &
    group=$!
    # A session is scheduled as a group of its own, which does not inherit this script's priority.
    [ "$(nice)" = 0 ] || nice >"/proc/$group/autogroup" 2>/dev/null
    wait "$group"
    status=$?
    kill -KILL -- "-$group" 2>/dev/null
    group=
}

# The newest packaged kernel that has its modules, IPVS and 9p (Debian's cloud kernels lack 9p).
newest_kernel() {
    local kernel version
    for kernel in $(printf '%s\n' /boot/vmlinuz-* | sort -rV); do
        version=${kernel#/boot/vmlinuz-}
        if [ -d "/lib/modules/$version/kernel/net/netfilter/ipvs" ] && [ -d "/lib/modules/$version/kernel/net/9p" ]; then
            echo "$kernel"
            return
        fi
    done
}

boot_qemu() {
    local kernel options="--qemu-opts=$cached_device" accelerator=()
    kernel=$(newest_kernel)
    [ -n "$kernel" ] || fail "no kernel with IPVS and 9p in /boot; install linux-image-amd64"
    # vng starts its other half, virtme-run, by name.
    local PATH=${here%/*}/.venv/bin:$PATH
    command -v vng >/dev/null || fail "vng is not installed; run \`make setup\`"
    # /dev/kvm may exist and hang where the CPU lacks virtualisation.
    if ! grep -qwE 'vmx|svm' /proc/cpuinfo || ! [ -w /dev/kvm ]; then
        options+=' -cpu qemu64'
        accelerator=(--disable-kvm --append mitigations=off)
    fi
    mkfifo "$scratch/console"
    cat <"$scratch/console" &
    local reader=$!
    # 9p: with the virtiofsd of some releases vng only loses 3 s trying.
    in_session "$scratch/console" vng -r "$kernel" "$options" "${accelerator[@]}" --user root --force-9p \
        --cpus 2 --memory 2G --rwdir="$control" --rwdir="$out" -- "bash $(printf %q "$control/command")"
    wait "$reader"
}

# On CPUs whose register save area is larger than this kernel's buffer (AMX), UML's first process dies. This
# wrapper of ptrace pads what goes back.
build_padding() {
    cat >"$scratch/padding.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static char area[65536] __attribute__((aligned(64)));
static size_t whole;

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(int, ...);
	va_list rest;
	va_start(rest, request);
	long pid = va_arg(rest, long);
	void *addr = va_arg(rest, void *), *data = va_arg(rest, void *);
	va_end(rest);
	if (!real)
		real = dlsym(RTLD_NEXT, "ptrace");
	if ((long)addr != NT_X86_XSTATE)
		return real(request, pid, addr, data);
	if (request == PTRACE_GETREGSET && !whole) {
		struct iovec all = { area, sizeof area };
		if (!real(request, pid, addr, &all))
			whole = all.iov_len;
	}
	if (request == PTRACE_SETREGSET) {
		struct iovec *given = data, padded = { area, whole };
		if (whole > given->iov_len) {
			memcpy(area, given->iov_base, given->iov_len);
			memset(area + given->iov_len, 0, whole - given->iov_len);
			return real(request, pid, addr, &padded);
		}
	}
	return real(request, pid, addr, data);
}
C
    gcc -O2 -shared -fPIC -o "$scratch/padding.so" "$scratch/padding.c" -ldl || fail "gcc failed"
}

# Process 1 of the UML guest: an overlay over the read-only host root, then the command in it.
write_init() {
    local modules=$1
    cat >"$scratch/init" <<INIT
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t tmpfs tmp /run; dmesg -n 1
insmod $modules/kernel/fs/overlayfs/overlay.ko
mkdir -p /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work root /run/root
cd /run/root
mount -t proc proc proc; mount -t sysfs sys sys; mount -t devtmpfs dev dev
mkdir -p dev/shm dev/pts lib/modules/${modules##*/}
mount -t tmpfs tmp run; mount -t tmpfs tmp dev/shm; mount -t devpts pts dev/pts
mount --bind $modules lib/modules/${modules##*/}
for folder in $control $out; do mkdir -p .\$folder; mount -t hostfs -o \$folder none .\$folder; done
# exec: process 1 shares its root with the kernel's own modprobe
exec chroot . /bin/bash -c 'ip link set lo up; bash $control/command 2>&1 | cat; exec halt -f >/dev/null 2>&1' </dev/null
INIT
    chmod +x "$scratch/init"
}

boot_uml() {
    local modules
    command -v linux.uml >/dev/null || fail "linux.uml is not installed; install user-mode-linux"
    modules=$(printf '%s\n' /usr/lib/uml/modules/* | sort -V | tail -1)
    build_padding
    write_init "$modules"
    # Its memory is a file; containers often have a small /dev/shm.
    [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 2097152 ] 2>/dev/null || export TMPDIR=$scratch
    mkfifo "$scratch/console"
    sed -u 's/\r$//' <"$scratch/console" | grep -v --line-buffered -e '^reboot: System halted' -e '^mmapper_init' \
        -e '^Failed to initialize ubd' -e '^SELinux:' -e '^Core dump limits' -e '^Checking ' -e 'VFS: Mounted root' &
    local reader=$!
    in_session "$scratch/console" env "LD_PRELOAD=$scratch/padding.so" linux.uml mem=2048M quiet loglevel=1 \
        rootfstype=hostfs rootflags=/ ro init="$scratch/init" con=null con0=null,fd:1 2>/dev/null
    wait "$reader"
}

# In braces: bash reads all of it before it begins, so that this file may change meanwhile.
{
    "boot_$kind"
    rc=125
    if [ -s "$control/rc" ]; then
        rc=$(cat "$control/rc")
    elif [ "$limit" -gt 0 ] && { [ "$status" = 124 ] || [ "$status" = 137 ]; }; then
        rc=124
        echo "${0##*/}: the guest was ended after $limit s" >&2
    else
        echo "${0##*/}: the guest died after $SECONDS s; the program that ran it ended with $status" >&2
    fi
    exit "$rc"
}
