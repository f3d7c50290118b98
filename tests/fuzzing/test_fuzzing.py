"""Readers of untrusted input accept it or raise `OvrcoatError`; tools/fuzz.py runs the targets for longer."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import mutations
from fuzzing.targets import CORPUS, REGRESSIONS, TARGETS
from tool_modules import load_tool

EXAMPLES = 25  # for each target
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,  # of one example; the first one also imports what is imported late
    derandomize=True,  # the same inputs in every run: new ones are for tools/fuzz.py
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
names = pytest.mark.parametrize("name", TARGETS)
# JSON as other programs may write it, with what JSON allows and no reader expects
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(mutations.VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
documents = {"vocabulary-json", "panoptic-json", "coco-instances", "labelme", "run-document", "rle"}


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    TARGETS[request.getfixturevalue("name")].prepare(tmp_path)
    return tmp_path


@names
def test_valid_inputs_are_accepted(name: str, folder: Path):
    """Otherwise a fuzzer would only see how an input is refused."""
    accepted = [TARGETS[name].run(seed, folder) for seed in TARGETS[name].seeds()]
    refused_on_purpose = name == "safetensors"  # a small file: the header of a network without its weights
    assert accepted
    assert all(accepted) or refused_on_purpose


def test_the_corpus_is_small_and_used():
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert max(sizes) < 8_000
    assert sum(sizes) < 64_000
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} == {t.corpus for t in TARGETS.values()}


@pytest.mark.parametrize(
    "path", sorted(REGRESSIONS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_inputs_that_once_failed(path: Path, tmp_path: Path):
    target = TARGETS[path.parent.name]
    target.prepare(tmp_path)
    assert target.run(path.read_bytes(), tmp_path) in (True, False)


@names
@quick
@given(choice=st.integers(0, 2**32))
def test_changed_inputs_are_accepted_or_refused(name: str, folder: Path, choice: int):
    rng = random.Random(choice)
    data = rng.choice(TARGETS[name].seeds())
    for _ in range(rng.randint(1, 3)):
        data = TARGETS[name].mutate(data, rng)
    assert TARGETS[name].run(data, folder) in (True, False)


@names
@quick
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_are_accepted_or_refused(name: str, folder: Path, data: bytes):
    assert TARGETS[name].run(data, folder) in (True, False)


@pytest.mark.parametrize("name", sorted(documents))
@quick
@given(document=values, key=st.integers(0, 2**32))
def test_arbitrary_values_in_a_document_are_accepted_or_refused(
    name: str, folder: Path, document: object, key: int
):
    """Once alone, and once in place of a value of a valid document."""
    rng = random.Random(key)
    whole = json.loads(rng.choice(TARGETS[name].seeds()))
    owner, place = rng.choice(mutations.places(whole))
    owner[place] = document
    for content in (document, whole):
        assert TARGETS[name].run(json.dumps(content).encode(), folder) in (True, False)


def test_checksums_are_corrected():
    png = (CORPUS / "image" / "rgb.png").read_bytes()
    assert mutations.with_checksums(png) == png
    damaged = png[:29] + b"\0\0\0\0" + png[33:]
    assert mutations.with_checksums(damaged) == png


def test_failing_inputs_are_stored_once_for_each_place(tmp_path: Path):
    tool = load_tool("fuzz")
    recorder = tool.Recorder(tmp_path)
    for number in range(tool.MAX_PER_PLACE + 2):
        recorder.store(bytes([number]), ValueError("the same"))
        recorder.count(accepted=False)
    stored = [path for path in tmp_path.iterdir() if path.suffix not in (".txt", ".json")]
    assert sorted(path.read_bytes() for path in stored) == [bytes([n]) for n in range(tool.MAX_PER_PLACE)]
    assert all("ValueError: the same" in path.with_name(f"{path.name}.txt").read_text() for path in stored)
