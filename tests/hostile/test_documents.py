"""JSON and YAML documents of every reader: a wrong value at each key, nesting, size, aliases, odd scalars."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostile import scenes
from hostile.harness import Zygote
from hostile.scenes import SCENES
from panoptic_pairs import prediction_document, truth_document

Path_ = tuple[str | int, ...]
# Readers of JSON with their valid documents.
DOCUMENTS: dict[str, Any] = {
    "truth json": truth_document,
    "prediction json": prediction_document,
    "instances json": scenes.instances_document,
    "results json": scenes.results_document,
    "report": lambda: json.loads(scenes.random_report_json()),
    "panoptic folder": lambda: scenes.panoptic_folder()["data/panoptic.json"],
    "instances folder": scenes.instances_document,
    "labelme": scenes.labelme_document,
    "earlier run": scenes.run_document,
    "training configuration": lambda: yaml.safe_load(scenes.CONFIG),
    "vocabulary json": lambda: [{"name": "cat", "id": 1, "synonyms": ["kitty"], "isthing": True}],
    "yolo data": lambda: {"names": {0: "cat", 1: "dog"}, "train": "images"},
    "batch list jsonl": lambda: {"path": "a.png", "id": "a"},
}  # fmt: skip
WRONG: dict[str, Any] = {
    "null": None,
    "huge number": 10**300,
    "not finite": float("nan"),
    "negative": -(2**63) - 1,
    "list": [[[]]],
    "object": {"": {}},
    "text": "\x1b[31m\u202e" + "x" * 100_000,
    "path": "../../../../etc/passwd",
    "zero": "\x00",
}


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """All keys of a document; of a list only the first item."""
    yield path
    if isinstance(value, dict):
        for key in list(value)[:12]:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(document: Any, path: Path_, value: Any) -> Any:
    """A copy of a document with another value at one place."""
    if not path:
        return value
    result = copy.deepcopy(document)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return result


def as_text(document: Any, name: str) -> str:
    if name.endswith((".yaml", ".yml")):
        return yaml.safe_dump(document, allow_unicode=True)
    return json.dumps(document)


def cases() -> Iterator[Any]:
    """One input per reader and key; the wrong values take turns."""
    kinds = list(WRONG)
    for name, make in DOCUMENTS.items():
        for number, path in enumerate(places(make())):
            kind = kinds[number % len(kinds)]
            yield pytest.param(name, path, kind, id=f"{name}-{'.'.join(map(str, path))}-{kind}")


@pytest.mark.parametrize(("name", "path", "kind"), list(cases()))
def test_a_wrong_value_at_a_key(name: str, path: Path_, kind: str, tmp_path: Path, zygote: Zygote):
    scene = SCENES[name]
    scene.build(tmp_path)
    victim = tmp_path / scene.victim
    victim.write_text(as_text(changed(DOCUMENTS[name](), path, WRONG[kind]), victim.name), encoding="utf-8")
    scene.run(zygote, victim).assert_harmless()


JSON_READERS = [
    name
    for name, scene in SCENES.items()
    if scene.victim.endswith((".json", ".jsonl", ".journal", ".part")) and "weights" not in name
]
BOMBS = {
    "deep lists": "[" * 5_000 + "]" * 5_000,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "deep without end": "[" * 1_000_000,
    "190 levels": "[" * 190 + "]" * 190,
    "deep in a key": '{"annotations":' + "[" * 900 + "]" * 900 + ',"images":[],"categories":[]}',
    "a number of 5,000 digits": "9" * 5_000,
    "an infinite number": '{"annotations": [1e999, -1e999, NaN, Infinity]}',
    "a key twice": '{"images": [], "images": {}, "annotations": {}, "annotations": []}',
    "lone surrogates": '{"\\ud800": "\\udfff", "images": ["\\ud800"], "annotations": ["\\udce9"]}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", JSON_READERS)
def test_json_bombs(name: str, bomb: str, tmp_path: Path, zygote: Zygote):
    SCENES[name].build(tmp_path)
    victim = tmp_path / SCENES[name].victim
    victim.write_text(BOMBS[bomb])
    SCENES[name].run(zygote, victim).assert_harmless()


@pytest.mark.parametrize("name", ["truth json", "results json"])
@pytest.mark.parametrize("unit", ["[],", "{},", '[{"":[]}],', "0,", "1.5e3,", '"a",'])
def test_a_hundred_megabytes_of_small_values(unit: str, name: str, tmp_path: Path, zygote: Zygote):
    scene = SCENES[name]
    scene.build(tmp_path)
    victim = tmp_path / scene.victim
    victim.write_text("[" + unit * (100_000_000 // len(unit)) + "0]")
    scene.run(zygote, victim).assert_harmless()


YAML_READERS = [name for name, scene in SCENES.items() if scene.victim.endswith(".yaml")]
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefghijklmn", "bcdefghijklmno", strict=True)
)
SCALARS = {
    "laughs": LAUGHS,
    "laughs in names": LAUGHS + "names: *o\nvocabulary: *o\nstages: *o\n",
    "an alias of itself": "names: &a [*a]\nstages: *a\n",
    "a merged alias of itself": "names: &a {<<: *a}\n",
    "merge keys": "k0: &k0 {a: 1}\n"
    + "".join(f"k{n}: &k{n} {{<<: [*k{n - 1}, *k{n - 1}], x{n}: 1}}\n" for n in range(1, 40)),
    "deep lists": "names: " + "[" * 500_000,
    "deep objects": "names: " + "{a: " * 5_000,
    "deep blocks": "- " * 5_000 + "a",
    "deep keys": "? " * 5_000 + "a",
    "a date": "names: 2020-99-99\nseed: 2020-99-99\n",
    "a hexadecimal number": "names: 0x_\n",
    "a dot": "names: [., ._, -.]\n",
    "a huge number": f"names: {'9' * 5_000}\nseed: {'9' * 5_000}\n",
    "a number in base 60": "seed: 1:59:59:59:59:59:59\nnames: [190:20:30]\n",
    "a wrong integer": "names: !!int abc\n",
    "a wrong float": "names: !!float abc\n",
    "a wrong time": "names: !!timestamp abc\n",
    "a wrong truth value": "names: !!bool perhaps\n",
    "wrong base64": "names: !!binary '&&&'\n",
    "a Python object": "names: !!python/object/apply:os.system ['exit 7']\n",
    "a Python module": "names: !!python/module:os\n",
    "a list as key": "? [a, b]\n: c\n",
    "an object as key": "names: {{a: b}: c}\n",
    "a wrong set": "names: !!set [a]\n",
    "a wrong ordered map": "names: !!omap {a: b}\n",
    "a value key": "names: =\n",
    "a merge of a number": "<<: 3\n",
    "two documents": "names: [a]\n---\nnames: [b]\n",
    "another version": "%YAML 9.9\n---\nnames: [a]\n",
    "a control character": "names: [a\x07]\n",
    "tabs": "names:\n\t- a\n",
    "an unknown alias": "names: *a\n",
    "400,000 values": "names: [" + "a," * 400_000 + "]\n",
    "200,000 anchors": "names: [" + ",".join(f"&a{n} x" for n in range(80_000)) + "]\n",
    "one long text": "names: [" + "x" * 1_000_000 + "]\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("name", YAML_READERS)
def test_yaml(name: str, kind: str, tmp_path: Path, zygote: Zygote):
    SCENES[name].build(tmp_path)
    victim = tmp_path / SCENES[name].victim
    victim.write_text(SCALARS[kind])
    SCENES[name].run(zygote, victim).assert_harmless()


def test_an_odd_scalar_is_located(tmp_path: Path, zygote: Zygote):
    path = tmp_path / "c.yaml"
    path.write_text("vocabulary: coco\nseed: 2020-99-99\n")
    outcome = zygote.run("read_training_config", path=str(path))
    outcome.assert_refused("c.yaml: line 2, column 7: the value '2020-99-99' is not valid")
