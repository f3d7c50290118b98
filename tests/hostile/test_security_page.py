"""The table of hostile inputs in SECURITY.md, and that of the limits, agree with the tests and the code."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hostile.harness import ROOT
from ovrcoat.formats import limits
from ovrcoat.system import input_files
from ovrcoat.system.input_files import SizeLimit

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| [^|]+ \| ([\d,]+) \| [^|]+ \| `(test_\w+\.py)` \|")


def test_the_numbers_of_inputs_are_those_of_the_suite():
    listed = {name: int(count.replace(",", "")) for count, name in ROW.findall(PAGE)}
    names = [str(Path(__file__).with_name(name)) for name in listed]
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    counts = Counter(Path(line.split("::")[0]).name for line in collected.splitlines() if "::" in line)
    assert listed == dict(counts)
    assert sum(listed.values()) >= 400


def test_the_limits_are_those_of_the_code():
    found = [value for module in (input_files, limits) for value in vars(module).values()]
    defaults = {limit.variable: f"{limit.default:,}" for limit in found if isinstance(limit, SizeLimit)}
    rows = re.findall(r"\| [^|]+ \| ([\d,]+) \| `(OVRCOAT_MAX_\w+)` \|", PAGE)
    assert {variable: default for default, variable in rows} == defaults
