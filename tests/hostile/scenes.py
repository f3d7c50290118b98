"""Valid inputs of every reader, each with one file that a test replaces by a hostile one."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hostile.harness import Outcome, Zygote
from panoptic_pairs import truth_document, write_pair

NANO = Path(__file__).parents[2] / "src" / "ovrcoat" / "weights" / "nano.safetensors"


@dataclass(frozen=True)
class Scene:
    """One reader of files.

    Attributes:
        victim: path of the file, relative to a test's folder.
        build: writes valid files into the folder, the victim among them.
        run: gives the file to the package.
    """

    victim: str
    build: Callable[[Path], None]
    run: Callable[[Zygote, Path], Outcome]


def picture(width: int = 6, height: int = 4, *, form: str = "PNG") -> bytes:
    """A small image file."""
    with io.BytesIO() as file:
        pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
        Image.fromarray(pixels).save(file, format=form)
        return file.getvalue()


def label_map(width: int = 6, height: int = 4) -> bytes:
    """A label map of two categories."""
    with io.BytesIO() as file:
        values = np.zeros((height, width), np.uint8)
        values[:, width // 2 :] = 1
        Image.fromarray(values).save(file, format="PNG")
        return file.getvalue()


def put(root: Path, files: dict[str, Any]) -> None:
    """Write files: bytes and text as they are, everything else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def files(contents: Callable[[], dict[str, Any]]) -> Callable[[Path], None]:
    return lambda root: put(root, contents())


def target(name: str) -> Callable[[Zygote, Path], Outcome]:
    return lambda zygote, path: zygote.run(name, path=str(path))


def folder_target(name: str, folder: str, **more: str) -> Callable[[Zygote, Path], Outcome]:
    """Give the test's folder that has this name, in which the victim lies, to a target."""

    def run(zygote: Zygote, path: Path) -> Outcome:
        root = next(parent for parent in path.parents if parent.name == folder)
        return zygote.run(name, path=str(root), **more)

    return run


def pair(root: Path) -> None:
    """Ground truth and predictions of two images."""
    write_pair(root)


def score(zygote: Zygote, path: Path) -> Outcome:
    """Score the pair of which the victim is a file."""
    root = path.parents[1] if path.suffix == ".png" else path.parent
    sides = [f"--{side}{ending}" for side in ("truth", "prediction") for ending in ("", "-dir")]
    values = [root / "truth.json", root / "truth", root / "prediction.json", root / "prediction"]
    return zygote.command("score", *(item for pair in zip(sides, values, strict=True) for item in pair))


def check_data(zygote: Zygote, path: Path) -> Outcome:
    """Check the dataset of which the victim is a file."""
    root = next(parent for parent in path.parents if parent.name == "data")
    return zygote.command("check-data", root)


def score_instances(zygote: Zygote, path: Path) -> Outcome:
    root = path.parent
    return zygote.command(
        "score",
        "--task",
        "instance",
        "--truth",
        root / "instances.json",
        "--prediction",
        root / "results.json",
    )


def score_semantic(zygote: Zygote, path: Path) -> Outcome:
    root = path.parents[1]
    return zygote.command(
        "score", "--task", "semantic", "--truth-dir", root / "truth", "--prediction-dir", root / "found",
        "--categories", "2",
    )  # fmt: skip


def instances_document() -> dict[str, Any]:
    """Ground truth in COCO's instances format."""
    outline = [[0, 0, 3, 0, 3, 3, 0, 3]]
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 6, "height": 4}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": outline,
                "area": 9.0,
                "bbox": [0, 0, 3, 3],
                "iscrowd": 0,
            }
        ],
    }


def results_document() -> list[dict[str, Any]]:
    """Results in COCO's format."""
    mask = {"size": [4, 6], "counts": [0, 12, 12]}
    return [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.5}]


def labelme_document() -> dict[str, Any]:
    points = [[0, 0], [3, 0], [3, 3]]
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            {"label": "cat", "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
        ],
        "imagePath": "a.png",
        "imageData": None,
        "imageHeight": 4,
        "imageWidth": 6,
    }


def run_document() -> dict[str, Any]:
    """The document of an earlier run, as `segment` writes it."""
    segment = {"id": 1, "category_id": 1, "area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0, "isthing": 1}
    return {
        "ovrcoat": "panoptic 1",
        "categories": [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "wall", "isthing": 0}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [segment]}],
        "images": [
            {
                "id": 1,
                "output": "a",
                "file_name": "a.jpg",
                "width": 6,
                "height": 4,
                "exported": [],
                "notes": [],
            }
        ],
    }


def panoptic_folder() -> dict[str, Any]:
    document = truth_document() | {}
    document["images"] = [{"id": id, "file_name": f"{id}.png", "width": 4, "height": 3} for id in (1, 2)]
    ids = np.array([[5, 5, 5, 0], [5, 5, 70_000, 70_000], [70_000] * 4])
    with io.BytesIO() as file:
        Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)).save(
            file, "PNG"
        )
        png = file.getvalue()
    contents: dict[str, Any] = {"data/panoptic.json": document}
    for id in (1, 2):
        contents |= {f"data/images/{id}.png": picture(4, 3), f"data/panoptic/{id}.png": png}
    return contents


def semantic_folder(names: str = "names.txt", content: object = "0: cat\n1: wall\n") -> dict[str, Any]:
    return {"data/images/a.png": picture(), "data/labels/a.png": label_map(), f"data/{names}": content}


def yolo_folder() -> dict[str, Any]:
    return {
        "data/data.yaml": "names: [cat, dog]\ntrain: images\n",
        "data/images/a.png": picture(),
        "data/labels/a.txt": "0 0.1 0.1 0.6 0.1 0.6 0.8\n",
    }


def archive(contents: dict[str, Any]) -> bytes:
    """A zip file."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in contents.items():
                text = content if isinstance(content, bytes | str) else json.dumps(content)
                packed.writestr(name.removeprefix("data/"), text)
        return file.getvalue()


def tar_file() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(picture())
            tar.addfile(info, io.BytesIO(picture()))
        return file.getvalue()


def parquet_file() -> bytes:
    import pyarrow as arrow
    from pyarrow import parquet

    with io.BytesIO() as file:
        parquet.write_table(arrow.table({"path": ["a.png"]}), file)
        return file.getvalue()


def pytorch_file(content: object) -> bytes:
    import torch

    with io.BytesIO() as file:
        torch.save(content, file)
        return file.getvalue()


def random_report_json() -> str:
    from sample_reports import random_report

    return random_report(1).to_json()


def convert(zygote: Zygote, path: Path) -> Outcome:
    return zygote.command("convert", path, path.parent / "converted.safetensors", "--clip", path)


CONFIG = (Path(__file__).parents[2] / "configs" / "tiny.yaml").read_text(encoding="utf-8")
JOURNAL = '{"format":"ovrcoat evaluation journal 4","model":"tiny"}\n'

SCENES: dict[str, Scene] = {
    "image": Scene("a.png", files(lambda: {"a.png": picture()}), target("read_image")),
    "vocabulary txt": Scene(
        "v.txt", files(lambda: {"v.txt": "cat\nwall#stuff\n"}), target("read_vocabulary")
    ),
    "vocabulary csv": Scene(
        "v.csv", files(lambda: {"v.csv": "id,name\n1,cat\n2,wall\n"}), target("read_vocabulary")
    ),
    "vocabulary json": Scene("v.json", files(lambda: {"v.json": ["cat", "wall"]}), target("read_vocabulary")),
    "vocabulary yaml": Scene(
        "v.yaml", files(lambda: {"v.yaml": "names: [cat, dog]\n"}), target("read_vocabulary")
    ),
    "checkpoint": Scene(
        "m.safetensors", files(lambda: {"m.safetensors": NANO.read_bytes()[:300_000]}), target("load_model")
    ),
    "published file": Scene("m.pth", files(lambda: {"m.pth": pytorch_file({"model": {}})}), convert),
    "index of weights": Scene(
        "m.safetensors.index.json",
        files(lambda: {"m.safetensors.index.json": {"weight_map": {"a": "m-1.safetensors"}}}),
        convert,
    ),
    "truth json": Scene("truth.json", pair, score),
    "prediction json": Scene("prediction.json", pair, score),
    "panoptic png": Scene("prediction/1.png", pair, score),
    "instances json": Scene(
        "instances.json",
        files(lambda: {"instances.json": instances_document(), "results.json": results_document()}),
        score_instances,
    ),
    "results json": Scene(
        "results.json",
        files(lambda: {"instances.json": instances_document(), "results.json": results_document()}),
        score_instances,
    ),
    "label map": Scene(
        "found/a.png", files(lambda: {"truth/a.png": label_map(), "found/a.png": label_map()}), score_semantic
    ),
    "report": Scene(
        "report.json",
        files(lambda: {"report.json": random_report_json()}),
        lambda zygote, path: zygote.command("compare", path),
    ),
    "partial report": Scene(
        "partial.jsonl",
        files(lambda: {"partial.jsonl": "{}\n"}),
        lambda zygote, path: zygote.command("score", "--merge", path),
    ),
    "training counts": Scene(
        "counts.json",
        files(lambda: {"report.json": random_report_json(), "counts.json": {"cat": 1}}),
        lambda zygote, path: zygote.command("compare", path.parent / "report.json", "--training", path),
    ),
    "training configuration": Scene(
        "c.yaml", files(lambda: {"c.yaml": CONFIG}), target("read_training_config")
    ),
    "training state": Scene(
        "state.pt", files(lambda: {"state.pt": pytorch_file({"format": 1})}), target("resume_training")
    ),
    "training log": Scene(
        "log.jsonl", files(lambda: {"log.jsonl": '{"step": 1}\n'}), target("continue_training_log")
    ),
    "panoptic folder": Scene(
        "data/panoptic.json", files(panoptic_folder), folder_target("read_dataset", "data")
    ),
    "panoptic folder, png": Scene(
        "data/panoptic/1.png", files(panoptic_folder), folder_target("read_dataset", "data")
    ),
    "panoptic folder, image": Scene("data/images/1.png", files(panoptic_folder), check_data),
    "semantic folder, txt": Scene(
        "data/names.txt", files(semantic_folder), folder_target("read_dataset", "data")
    ),
    "semantic folder, yaml": Scene(
        "data/names.yaml",
        files(lambda: semantic_folder("names.yaml", "names: {0: cat, 1: wall}\n")),
        folder_target("read_dataset", "data"),
    ),
    "semantic folder, json": Scene(
        "data/names.json", files(lambda: semantic_folder("names.json", ["cat", "wall"])), check_data
    ),
    "semantic folder, labels": Scene("data/labels/a.png", files(semantic_folder), check_data),
    "yolo data": Scene("data/data.yaml", files(yolo_folder), folder_target("read_dataset", "data")),
    "yolo labels": Scene("data/labels/a.txt", files(yolo_folder), check_data),
    "instances folder": Scene(
        "data/annotations.json",
        files(lambda: {"data/annotations.json": instances_document(), "data/images/a.png": picture()}),
        folder_target("read_dataset", "data"),
    ),
    "labelme": Scene(
        "data/a.json",
        files(lambda: {"data/a.json": labelme_document(), "data/a.png": picture()}),
        folder_target("read_dataset", "data"),
    ),
    "zip archive": Scene(
        "data.zip", files(lambda: {"data.zip": archive(semantic_folder())}), target("read_dataset")
    ),
    "batch list txt": Scene(
        "l.txt", files(lambda: {"l.txt": "a.png\n", "a.png": picture()}), target("list_batch_items")
    ),
    "batch list jsonl": Scene(
        "l.jsonl",
        files(lambda: {"l.jsonl": '{"path": "a.png"}\n', "a.png": picture()}),
        target("list_batch_items"),
    ),
    "batch list parquet": Scene(
        "l.parquet",
        files(lambda: {"l.parquet": parquet_file(), "a.png": picture()}),
        target("list_batch_items"),
    ),
    "batch tar": Scene("l.tar", files(lambda: {"l.tar": tar_file()}), target("list_batch_items")),
    "batch image": Scene(
        "b.png",
        files(lambda: {"b.png": picture(), "l.txt": "b.png\n"}),
        lambda zygote, path: zygote.run("list_batch_items", path=str(path.parent / "l.txt")),
    ),
    "earlier run": Scene(
        "out/panoptic.json",
        files(lambda: {"out/panoptic.json": run_document()}),
        folder_target("continue_output", "out"),
    ),
    "earlier run, part": Scene(
        "out/.panoptic.json.part",
        files(lambda: {"out/.panoptic.json.part": "{}"}),
        folder_target("continue_output", "out"),
    ),
    "earlier run, journal": Scene(
        "out/.panoptic.json.journal",
        files(lambda: {"out/.panoptic.json.journal": "{}\n", "out/.panoptic.json.part": "{}"}),
        folder_target("continue_output", "out"),
    ),
    "earlier run, lines": Scene(
        "out/annotations.jsonl",
        files(lambda: {"out/panoptic.json": run_document(), "out/annotations.jsonl": '{"output": "a"}\n'}),
        folder_target("continue_output", "out", formats="jsonl"),
    ),
    "evaluation journal": Scene(
        "journal.jsonl", files(lambda: {"journal.jsonl": JOURNAL}), target("continue_evaluation")
    ),
}
