"""Write the software bill of materials (CycloneDX, JSON) of ovrcoat: python tools/sbom.py sbom.json

It lists the installed packages that ovrcoat needs at run time, with versions, licenses and dependencies;
install the extras first that it should include. Equal environments give equal files.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.utils import canonicalize_name

from dependencies import runtime_distributions, user_extras

ROOT = Path(__file__).resolve().parents[1]


def main(target: Path) -> None:
    """Write the file."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(run.stdout)
    document["metadata"]["component"]["version"] = version("ovrcoat")
    names = runtime_distributions(user_extras())
    document["components"] = [
        part for part in document["components"] if canonicalize_name(part["name"]) in names
    ]
    kept = {part["bom-ref"] for part in (*document["components"], document["metadata"]["component"])}
    document["dependencies"] = [
        entry | {"dependsOn": [name for name in entry.get("dependsOn", []) if name in kept]}
        for entry in document["dependencies"]
        if entry["ref"] in kept
    ]
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(document['components'])} packages → {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
