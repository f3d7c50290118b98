"""Names inside documents lead nowhere: no file outside the folder is read, created or changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from hostile import scenes
from hostile.harness import Zygote
from hostile.scenes import SCENES, picture
from panoptic_pairs import prediction_document, truth_document

NAMES = {
    "parents": "../secret/1.png",
    "many parents": "../" * 60 + "{secret}",
    "inside and out": "a/../../secret/1.png",
    "absolute": "{secret}",
    "backslashes": "..\\secret\\1.png",
    "a drive": "C:\\secret\\1.png",
    "a share": "//server/secret/1.png",
    "home": "~/1.png",
    "a user": "~root/1.png",
    "a URL": "file://{secret}",
    "a null character": "1.png\0.jpg",
    "only dots": "..",
    "the folder": ".",
    "nothing": "",
    "a long name": "a" * 5_000 + ".png",
    "a line break": "1\n.png",
    "a variable": "$HOME/1.png",
    "a device": "/dev/zero",
}


def with_file_name(name: str, where: tuple[str | int, ...], file_name: str) -> Any:
    document = json.loads(json.dumps(DOCUMENTS[name]()))
    parent = document
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = file_name
    return document


DOCUMENTS: dict[str, Any] = {
    "truth json": truth_document,
    "prediction json": prediction_document,
    "panoptic folder": lambda: scenes.panoptic_folder()["data/panoptic.json"],
    "instances folder": scenes.instances_document,
    "labelme": scenes.labelme_document,
    "earlier run": scenes.run_document,
}
PLACES: list[tuple[str, tuple[str | int, ...]]] = [
    ("truth json", ("annotations", 0, "file_name")),
    ("prediction json", ("annotations", 0, "file_name")),
    ("panoptic folder", ("annotations", 0, "file_name")),
    ("panoptic folder", ("images", 0, "file_name")),
    ("instances folder", ("images", 0, "file_name")),
    ("labelme", ("imagePath",)),
    ("earlier run", ("images", 0, "output")),
    ("earlier run", ("images", 0, "exported")),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("scene", "where"), PLACES, ids=[f"{scene}, {where[-1]}" for scene, where in PLACES])
@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_a_document(
    kind: str, scene: str, where: tuple[str | int, ...], tmp_path: Path, zygote: Zygote
):
    root, secret = tmp_path / "root", tmp_path / "secret" / "1.png"
    secret.parent.mkdir()
    secret.write_bytes(picture(4, 3))
    root.mkdir()
    SCENES[scene].build(root)
    victim = root / SCENES[scene].victim
    name: Any = NAMES[kind].format(secret=secret)
    if where[-1] == "exported":
        name = [name]
    victim.write_text(json.dumps(with_file_name(scene, where, name)))
    before = contents(tmp_path / "secret")
    outcome = SCENES[scene].run(zygote, victim).assert_harmless()
    assert contents(tmp_path / "secret") == before
    assert {path.name for path in tmp_path.iterdir()} == {"root", "secret"}
    if scene.startswith(("truth", "prediction")):
        assert outcome.kind == "refused"  # with the secret map, all names would have a file


@pytest.mark.parametrize("kind", NAMES)
def test_the_name_of_a_training_stage(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "c.yaml"
    name = json.dumps(NAMES[kind].format(secret="/secret"))
    path.write_text(scenes.CONFIG.replace("name: segmentation", f"name: {name}"))
    outcome = zygote.run("read_training_config", path=str(path)).assert_harmless()
    # plain names for the file system; backslashes and drives only have a meaning on Windows
    plain = ("a user", "a variable", "a line break", "backslashes", "a drive")
    assert outcome.kind == "refused" or kind in plain
