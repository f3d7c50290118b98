"""The supply chain: licenses, advisories and the bill of materials of dependencies; equal builds."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from ovrcoat.system.fingerprints import file_sha256
from tool_modules import load_tool

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
dependencies = load_tool("dependencies")
NOT_AUDITED = 3  # exit status of tools/audit.py

# SPDX identifiers, and below how other packages name the same license. No copyleft besides MPL-2.0, whose
# terms end at the files of the package itself.
ALLOWED = {
    "Apache-2.0",
    "MIT",
    "MIT-CMU",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "BSL-1.0",
    "Zlib",
    "CC0-1.0",
}
ALLOWED |= {"PSF-2.0", "CNRI-Python", "MPL-2.0", "LLVM-exception", "ISC", "Unlicense", "HPND", "Python-2.0"}
NAMED = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
}
# torch's wheels for Linux require NVIDIA's libraries, which may be used and redistributed but are not free
# software; the wheel for CPUs needs none of them.
NVIDIA = re.compile(r"nvidia-.+|cuda-toolkit")


def licenses_of(package: Distribution) -> set[str]:
    """Return the SPDX identifiers of a package's license, or its own words for it."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    classifiers = metadata.get_all("Classifier") or []
    named = {
        text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: OSI Approved :: ")
    }
    if not named:
        text = (metadata.get("License") or "unknown").strip().splitlines()[0]
        named = {text} if text in NAMED else set(re.findall(r"[\w.+-]+", text)) - {"AND", "OR", "WITH"}
    return {NAMED.get(name, name) for name in named}


def test_licenses_of_dependencies_are_allowed():
    packages = dependencies.runtime_distributions(dependencies.user_extras())
    assert {"torch", "pillow", "numpy", "pydantic-core"} <= packages.keys()
    found = {name: licenses_of(package) - ALLOWED for name, package in packages.items()}
    refused = {name: names for name, names in found.items() if names and not NVIDIA.fullmatch(name)}
    assert refused == {}


def test_each_extra_is_covered():
    """An extra that is new must be one for users or one for maintainers."""
    maintainers = dependencies.MAINTAINERS_EXTRAS
    assert {"coco", "train", "serve", "batch"} <= dependencies.user_extras()
    assert dependencies.user_extras().isdisjoint(maintainers)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pip_audit") is None, reason="pip-audit is not installed")
def test_no_dependency_has_a_known_vulnerability():
    audit = TOOLS / "audit.py"
    run = subprocess.run(
        [sys.executable, str(audit)], capture_output=True, text=True, check=False, timeout=300
    )
    if run.returncode == NOT_AUDITED:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("cyclonedx_py") is None, reason="cyclonedx-bom is not installed")
def test_the_bill_of_materials_lists_what_is_needed_at_run_time(tmp_path: Path):
    target = tmp_path / "sbom.json"
    subprocess.run([sys.executable, str(TOOLS / "sbom.py"), str(target)], check=True, timeout=300)
    document = json.loads(target.read_text())
    assert document["bomFormat"] == "CycloneDX"
    names = {part["name"].lower().replace("_", "-") for part in document["components"]}
    assert {"torch", "pillow", "safetensors"} <= names
    assert names.isdisjoint({"pytest", "ruff", "mypy"})
    assert all(part["version"] for part in (*document["components"], document["metadata"]["component"]))
    assert str(ROOT) not in target.read_text()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed")
def test_two_builds_give_the_same_wheel(tmp_path: Path):
    """From two copies, with other times and permissions of files, and another user mask."""
    wheels = []
    for number, mask in enumerate((0o022, 0o077)):
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for path in copy.rglob("*"):
            os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
            if path.is_file():
                path.chmod(0o666 & ~mask)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
            cwd=copy,
            umask=mask,
            check=True,
            capture_output=True,
        )
        wheels += (copy / "dist").glob("*.whl")
    assert len(wheels) == 2
    assert file_sha256(wheels[0]) == file_sha256(wheels[1])
    with ZipFile(wheels[0]) as archive:
        names = archive.namelist()
    assert "ovrcoat/weights/nano.safetensors" in names
    assert not any(name.startswith(("tests/", "tools/")) for name in names)
