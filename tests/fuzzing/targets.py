"""What fuzzers call: each target passes untrusted bytes to one reader of the package.

A reader may accept its input or raise `OvrcoatError`. Any other exception is a finding, and so are a crash,
ten seconds without a result, and 2 GB of memory.
"""

import io
import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dataset_trees import build_own
from exported_labels import write_coco, write_labelme, write_yolo
from fuzzing import mutations
from ovrcoat.checkpoints import native
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.decode import declared_pixels
from ovrcoat.data.images import read_image
from ovrcoat.errors import OvrcoatError
from ovrcoat.evaluation.checks.dataset import check_dataset
from ovrcoat.evaluation.checks.rle import InvalidMask, measure_mask
from ovrcoat.evaluation.scoring.instances import score_instances
from ovrcoat.evaluation.scoring.panoptic import score_panoptic
from ovrcoat.formats import panoptic_png
from ovrcoat.formats.panoptic_json import PanopticSource
from ovrcoat.formats.run_lengths import decode_runs
from ovrcoat.results.run_document import read_run_document, recover
from ovrcoat.training.config_file import read_config
from ovrcoat.vocabulary import Vocabulary
from panoptic_pairs import write_pair

CORPUS = Path(__file__).parent / "corpus"
REGRESSIONS = CORPUS.with_name("regressions")  # inputs that once failed, in a folder for each target
VOCABULARY_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".yaml")


@dataclass(frozen=True, slots=True)
class Target:
    """A reader of untrusted bytes.

    Attributes:
        read: called with the bytes, and a folder that holds what `prepare` has written.
        mutate: changes an input.
        corpus: name of the folder of valid inputs in `CORPUS`.
        prepare: writes further files that the reader needs into the folder.
    """

    read: Callable[[bytes, Path], object]
    mutate: mutations.Mutation
    corpus: str
    prepare: Callable[[Path], object] = lambda folder: None

    def seeds(self) -> list[bytes]:
        """Return the valid inputs."""
        return [path.read_bytes() for path in sorted((CORPUS / self.corpus).iterdir())]

    def run(self, data: bytes, folder: Path) -> bool:
        """Pass bytes to the reader; return whether it accepts them. Any exception is a finding."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # suspicious class names, for example
            try:
                self.read(data, folder)
            except OvrcoatError as error:
                if not str(error).strip():
                    raise AssertionError("an error without a message") from error
                return False
        return True

    def next_input(self, data: bytes, rng: random.Random) -> bytes:
        """Return a changed input, made from `data` or from a valid input."""
        return self.mutate(rng.choice(self.seeds_once()) if rng.random() < 0.5 else data, rng)

    def seeds_once(self) -> tuple[bytes, ...]:
        """Return the valid inputs, read once."""
        return _seeds(self.corpus)


@cache
def _seeds(corpus: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((CORPUS / corpus).iterdir()))


def read_vocabulary_text(data: bytes, folder: Path) -> None:
    """Class names of a stranger, as a server receives them."""
    examine(Vocabulary.from_untrusted(data.decode("utf-8", "replace")))


def vocabulary_file(suffix: str) -> Callable[[bytes, Path], None]:
    """Return a reader of vocabulary files with this suffix."""

    def read(data: bytes, folder: Path) -> None:
        path = folder / f"names{suffix}"
        path.write_bytes(data)
        examine(Vocabulary.load(path))

    return read


def examine(vocabulary: Vocabulary) -> None:
    """Do what every verb does with a vocabulary."""
    vocabulary.with_background("auto").lint()
    assert Vocabulary.from_dict(vocabulary.to_dict()).categories == vocabulary.categories


def read_training_config(data: bytes, folder: Path) -> None:
    """Settings of `ovrcoat train`."""
    path = folder / "train.yaml"
    path.write_bytes(data)
    read_config(path)


def dataset_file(name: str) -> Callable[[bytes, Path], None]:
    """Return a reader of a dataset of which one file is untrusted."""

    def read(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        dataset = open_dataset(folder)
        dataset.fingerprint()
        for record in dataset.records[:3]:
            dataset.panoptic(record)
            dataset.semantic(record)
        dataset.instances(dataset.records[:3])

    return read


def check_dataset_file(data: bytes, folder: Path) -> None:
    """The panoptic JSON of a dataset, in `ovrcoat check-data`."""
    (folder / "panoptic.json").write_bytes(data)
    check_dataset(folder)


def score_panoptic_json(data: bytes, folder: Path) -> None:
    """Predictions in `ovrcoat score`."""
    (folder / "prediction.json").write_bytes(data)
    truth = PanopticSource(folder / "truth.json", folder / "truth")
    score_panoptic(truth, PanopticSource(folder / "prediction.json", folder / "prediction"))


def score_instance_json(data: bytes, folder: Path) -> None:
    """Ground truth and results in `ovrcoat score --task instance`: a JSON object of both."""
    try:
        both = json.loads(data)
        truth, results = both["truth"], both["results"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    for name, document in (("truth", truth), ("results", results)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    score_instances(folder / "truth.json", folder / "results.json")


def read_id_png(data: bytes, folder: Path) -> None:
    """A panoptic PNG; both decoders return the same."""
    decoded = panoptic_png.decode_id_map(data)
    assert decoded.id_map.min() >= 0
    try:
        other = panoptic_png._decode_with_pillow(data)
    except Exception:  # of all kinds; the package wraps them
        return
    assert np.array_equal(other, decoded.id_map)


def read_checkpoint(data: bytes, folder: Path) -> None:
    """A checkpoint, with its configuration, vocabulary and weights."""
    path = folder / "model.safetensors"
    path.write_bytes(data)
    native.load(path)


def read_image_file(data: bytes, folder: Path) -> None:
    """An image, as bytes."""
    declared_pixels(data)
    image = read_image(io.BytesIO(data))
    assert image.pixels.dtype == np.uint8
    assert image.pixels.size > 0


def read_mask(data: bytes, folder: Path) -> None:
    """A mask in COCO's formats; what is measured equals what is decoded, and what pycocotools decodes."""
    try:
        entry = json.loads(data)
        segmentation, size = entry["segmentation"], tuple(entry["size"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if len(size) != 2 or not all(type(side) is int and 0 < side < 1000 for side in size):
        size = None
    area = measure_mask(segmentation, size=size)
    if not isinstance(segmentation, dict):
        return
    mask = decode_runs(segmentation)
    if mask is not None and not isinstance(area, InvalidMask):
        assert int(mask.sum()) == area.pixels


def read_earlier_run(data: bytes, folder: Path) -> None:
    """The document of an earlier run of `ovrcoat segment`."""
    path = folder / "panoptic.json"
    path.write_bytes(data)
    read_run_document(path)


def recover_journal(data: bytes, folder: Path) -> None:
    """The journal of a killed run of `ovrcoat segment`."""
    path = folder / "panoptic.json"
    path.unlink(missing_ok=True)
    (folder / ".panoptic.json.part").write_bytes(
        b'{"ovrcoat": "1", "categories": [], "annotations": [' + b" " * 4000
    )
    (folder / ".panoptic.json.journal").write_bytes(data)
    if recover(path):
        read_run_document(path)


TARGETS: dict[str, Target] = {
    "vocabulary-text": Target(read_vocabulary_text, mutations.mutate_text, "vocabulary-text"),
    **{
        f"vocabulary-{suffix[1:]}": Target(vocabulary_file(suffix), mutate, f"vocabulary-{suffix[1:]}")
        for suffix, mutate in zip(
            VOCABULARY_SUFFIXES,
            (*[mutations.mutate_text] * 3, mutations.mutate_json, mutations.mutate_yaml),
            strict=True,
        )
    },
    "training-config": Target(read_training_config, mutations.mutate_yaml, "training-config"),
    "panoptic-json": Target(dataset_file("panoptic.json"), mutations.mutate_json, "panoptic-json", build_own),
    "check-data": Target(check_dataset_file, mutations.mutate_json, "panoptic-json", build_own),
    "coco-instances": Target(
        dataset_file("_annotations.coco.json"), mutations.mutate_json, "coco-instances", write_coco
    ),
    "labelme": Target(dataset_file("one.json"), mutations.mutate_json, "labelme", write_labelme),
    "yolo-yaml": Target(dataset_file("data.yaml"), mutations.mutate_yaml, "yolo-yaml", write_yolo),
    "yolo-labels": Target(dataset_file("labels/one.txt"), mutations.mutate_text, "yolo-labels", write_yolo),
    "score-panoptic": Target(score_panoptic_json, mutations.mutate_json, "score-panoptic", write_pair),
    "score-instance": Target(score_instance_json, mutations.mutate_json, "score-instance"),
    "rle": Target(read_mask, mutations.mutate_json, "rle"),
    "id-png": Target(read_id_png, mutations.mutate_image, "id-png"),
    "image": Target(read_image_file, mutations.mutate_image, "image"),
    "safetensors": Target(read_checkpoint, mutations.mutate_safetensors, "safetensors"),
    "run-document": Target(read_earlier_run, mutations.mutate_json, "run-document"),
    "run-journal": Target(recover_journal, mutations.mutate_bytes, "run-journal"),
}
