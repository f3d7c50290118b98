"""Look for known vulnerabilities in the packages that ovrcoat needs at run time: python tools/audit.py

Runs pip-audit, which asks PyPI or, with --service osv, OSV. The exit status is 0 if nothing is known, 1 if
there are vulnerabilities, and 3 if no package could be audited, for example without a network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dependencies import runtime_distributions, user_extras

NOT_AUDITED = 3


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    service = parser.parse_args().service
    packages = runtime_distributions(user_extras())
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        # without the local part of versions such as 2.10.0+cpu, which no advisory names
        lines = [f"{name}=={package.version.partition('+')[0]}\n" for name, package in packages.items()]
        pinned.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pinned), "--no-deps"]
        command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
        run = subprocess.run(
            [*command, "--vulnerability-service", service], capture_output=True, text=True, check=False
        )
    try:
        entries = json.loads(run.stdout)["dependencies"]
    except ValueError:  # pip-audit ended with an error
        entries = [{"skip_reason": line} for line in run.stderr.splitlines()[-1:]]
    audited = [entry for entry in entries if "skip_reason" not in entry]
    if not audited:
        reason = entries[0]["skip_reason"] if entries else "no reason given"
        print(f"no advisory source is reachable, so nothing was audited ({reason[:200]})", file=sys.stderr)
        return NOT_AUDITED
    affected = [entry for entry in audited if entry["vulns"]]
    for entry in affected:
        for found in entry["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{entry['name']} {entry['version']}: {found['id']}, fixed in {fixed}")
    print(f"{len(audited)} of {len(packages)} packages audited, {len(affected)} with known vulnerabilities")
    return int(bool(affected))


if __name__ == "__main__":
    sys.exit(main())
