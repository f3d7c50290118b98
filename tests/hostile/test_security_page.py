"""The table of hostile inputs in SECURITY.md, and that of the limits, agree with the tests and the code."""

import re
from pathlib import Path

import pytest

from hostile.harness import ROOT
from ovrcoat.formats import limits
from ovrcoat.system import input_files
from ovrcoat.system.input_files import SizeLimit

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| [^|]+ \| ([\d,]+) \| [^|]+ \| `(test_\w+\.py)` \|")


def number_of_tests(path: Path, session: pytest.Session) -> int:
    """Collect a file of tests, whichever tests this session runs."""
    return len(list(session.genitems(pytest.Module.from_parent(session, path=path))))


def test_the_numbers_of_inputs_are_those_of_the_suite(request: pytest.FixtureRequest):
    listed = {name: int(count.replace(",", "")) for count, name in ROW.findall(PAGE)}
    counts = {name: number_of_tests(Path(__file__).with_name(name), request.session) for name in listed}
    assert listed == counts
    assert sum(listed.values()) >= 400


def test_the_limits_are_those_of_the_code():
    found = [value for module in (input_files, limits) for value in vars(module).values()]
    defaults = {limit.variable: f"{limit.default:,}" for limit in found if isinstance(limit, SizeLimit)}
    rows = re.findall(r"\| [^|]+ \| ([\d,]+) \| `(OVRCOAT_MAX_\w+)` \|", PAGE)
    assert {variable: default for default, variable in rows} == defaults
