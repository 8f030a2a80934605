"""`make bench`: measure native stages on this machine and the others in a guest.

    python -m bench [--kernel qemu|uml] [--quick]

A quick run prints its table and writes `lab/out/bench`, so that it never replaces the figures of a full one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from bench import comparison, native, report

ROOT = Path(__file__).parents[1]
GUEST_LIMIT_SECONDS = 1000


def main() -> int:
    """Run all measurements, write the results and print them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what large clusters cost")
    parser.add_argument("--kernel", choices=["qemu", "uml"], default="qemu", help="the guest (default qemu)")
    parser.add_argument("--quick", action="store_true", help="small clusters, a few seconds of churn")
    parser.add_argument("--guest-figures", type=Path, help="take the guest's figures from an earlier run's file")
    options = parser.parse_args()
    sizes = [100, 1000] if options.quick else [100, 1000, 5000, 10000]
    out = ROOT / "lab" / "out" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    found = native.measure(sizes, 10.0 if options.quick else 30.0)
    raw = options.guest_figures
    if raw is None:
        raw = out / "guest.json"
        raw.unlink(missing_ok=True)
        churn_seconds = 5 if options.quick else 30
        measured = [*map(str, sizes), "--churn-seconds", str(churn_seconds)]
        command = [ROOT / "lab" / "boot.sh", "-k", options.kernel, "-t", str(GUEST_LIMIT_SECONDS), "-o", out, "--"]
        # Relative, as PYTHONPATH of the guest's environment is plain.
        command += ["env", f"PYTHONPATH={ROOT / 'src'}", ROOT / ".venv" / "bin" / "python", "-m", "bench.guest"]
        if subprocess.run([*command, raw, "--sizes", *measured], cwd=ROOT, check=False).returncode and not raw.exists():
            print("error: nothing was measured in the guest", file=sys.stderr)
            return 1
    results = {**json.loads(raw.read_text(encoding="ascii")), "native": found}
    for error in results["errors"]:
        print(f"error: {error}", file=sys.stderr)
    target = out if options.quick else ROOT
    (out / "results.json" if options.quick else ROOT / "bench" / "results.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="ascii"
    )
    report.write(results, target)
    if not options.quick:
        page = ROOT / comparison.PAGE
        page.write_text(comparison.with_figures(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(report.page(results))
    return 1 if results["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
