"""`ovrcoat batch` from arguments to Parquet files, on a tiny network."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ovrcoat.batch import schema
from ovrcoat.formats.panoptic_png import decode_id_map
from ovrcoat.formats.run_lengths import decode_runs
from ovrcoat.segmentation.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("tiny_model")
OPTIONS = ("--vocabulary", "cat, kitty; dog#thing; sky#stuff", "--overlap-threshold", 0, "--output", "out")


@pytest.fixture
def photos(folder: Path, image_pixels: np.ndarray) -> Path:
    """Eleven images, of which two cannot be read."""
    (folder / "photos").mkdir()
    for number in range(11):
        Image.fromarray(np.roll(image_pixels, number, axis=1)).save(folder / "photos" / f"{number:02d}.png")
    (folder / "photos" / "04.png").write_bytes(b"nothing")
    (folder / "photos" / "10.png").write_bytes(b"")
    return folder


def table(folder: Path, name: str) -> list[dict]:
    rows = [row for path in folder.glob(f"{name}/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["id"])


def test_rows_hold_what_segment_predicts(ovrcoat, photos: Path, tiny_model: Segmenter):
    outcome = ovrcoat("batch", "photos", *OPTIONS, "--images-per-file", 3)
    assert outcome.status == 1
    assert "read 11 = written 9 + quarantined 2" in outcome.err
    rows = table(photos / "out", "images")
    assert [row["id"] for row in rows] == [f"photos/{n:02d}.png" for n in range(10) if n != 4]
    assert sum(len(row["segments"]) for row in rows) > 0
    for row in rows:
        expected = tiny_model.segment(row["path"], "cat, kitty; dog#thing; sky#stuff", overlap_threshold=0)
        assert (row["height"], row["width"]) == expected.size
        for stored, segment in zip(row["segments"], expected.segments, strict=True):
            assert np.array_equal(decode_runs(stored["segmentation"]), expected.mask(segment.id))
            assert stored["top"] == [{"category": name, "probability": value} for name, value in segment.top]
            assert tuple(stored["bbox"]) == segment.bbox
            for name in ("category", "category_id", "is_thing", "score", "area"):
                assert stored[name] == getattr(segment, name)
            for name in ("objectness", "objectness_before", "clip_confidence"):
                assert stored[name] == getattr(segment, name)


def test_embeddings_and_id_maps_are_added_on_request(ovrcoat, photos: Path, tiny_model: Segmenter):
    assert ovrcoat("batch", "photos/00.png", *OPTIONS, "--embeddings", "--png").status == 0
    (row,) = table(photos / "out", "images")
    encoded = tiny_model.encode("photos/00.png")
    result = encoded.segment("cat, kitty; dog#thing; sky#stuff", overlap_threshold=0)
    assert len(row["segments"]) > 0
    stored = np.array([segment["embedding"] for segment in row["segments"]], dtype=np.float32)
    clip = encoded.encoding.clip
    for embedding, segment in zip(stored, result.segments, strict=True):
        assert clip.valid_mask[0, segment.query]
        expected = clip.embeddings[0, segment.query].numpy()
        assert np.allclose(embedding, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.array_equal(decode_id_map(row["png"]).id_map, result.id_map)


def test_masks_too_small_for_clip_have_a_zero_embedding(tiny_model: Segmenter, image_pixels: np.ndarray):
    encoded = tiny_model.encode(image_pixels)
    segments = encoded.segment("cat; dog; sky#stuff", overlap_threshold=0).segments
    with torch.inference_mode():
        encoded.encoding.clip.valid_mask[0, segments[0].query] = False
    first, *others = encoded.clip_embeddings(segments)
    assert not first.any()
    assert all(abs(np.linalg.norm(embedding) - 1) < 1e-5 for embedding in others)
    assert encoded.clip_embeddings([]).shape == (0, first.size)


@pytest.mark.parametrize(
    ("option", "task"), [("--embeddings", "semantic"), ("--png", "instance"), ("--png", "semantic")]
)
def test_columns_that_a_task_cannot_fill_are_refused(ovrcoat, photos: Path, option: str, task: str):
    outcome = ovrcoat("batch", "photos", *OPTIONS[:2], "--output", "out", "--task", task, option)
    assert outcome.status == 2
    assert f"error: {option}" in outcome.err
    assert not (photos / "out").exists()


def test_unreadable_images_are_quarantined_with_the_reason(ovrcoat, photos: Path):
    ovrcoat("batch", "photos", *OPTIONS)
    first, second = table(photos / "out", "quarantine")
    assert (first["id"], second["id"]) == ("photos/04.png", "photos/10.png")
    assert "not an image" in first["reason"]
    assert "empty" in second["reason"]


def test_files_have_the_documented_columns_even_if_they_are_empty(ovrcoat, folder: Path):
    (folder / "bad.png").write_bytes(b"nothing")
    outcome = ovrcoat("batch", "bad.png", *OPTIONS, "--json")
    assert outcome.document["written"] == 0
    assert pq.read_schema(folder / "out/images/part-00000000.parquet").equals(schema.image_schema())
    assert pq.read_schema(folder / "out/quarantine/part-00000000.parquet").equals(schema.quarantine_schema())


def test_seven_shards_together_are_one_run(ovrcoat, photos: Path):
    ovrcoat("batch", "photos", *OPTIONS, "--images-per-file", 2)
    whole = {path.name: path.read_bytes() for path in photos.glob("out/*/*.parquet")}
    read = 0
    for index in range(1, 8):
        outcome = ovrcoat(
            "batch",
            "photos",
            *OPTIONS[:-1],
            "sharded",
            "--images-per-file",
            2,
            "--shard",
            f"{index}/7",
            "--json",
        )
        read += outcome.document["read"]
    assert read == 11
    assert {path.name: path.read_bytes() for path in photos.glob("sharded/*/*.parquet")} == whole


def test_finished_parts_are_not_done_again(ovrcoat, photos: Path, monkeypatch: pytest.MonkeyPatch):
    ovrcoat("batch", "photos", *OPTIONS, "--images-per-file", 4)
    files = sorted(photos.glob("out/images/*.parquet"))
    assert len(files) == 3
    missing = files[1].read_bytes()
    files[1].unlink()
    before = [file.stat().st_mtime_ns for file in (files[0], files[2])]
    done: list[int] = []
    encode_many = Segmenter.encode_many

    def counted(self, images, **options):
        done.append(len(images))
        return encode_many(self, images, **options)

    monkeypatch.setattr(Segmenter, "encode_many", counted)
    assert ovrcoat("batch", "photos", *OPTIONS, "--images-per-file", 4).status == 1
    assert done == [4]
    assert files[1].read_bytes() == missing
    assert [file.stat().st_mtime_ns for file in (files[0], files[2])] == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trust", 0.3), "other trust (trust: 0.5 there, 0.3 now)"),
        (("--images-per-file", 7), "other images_per_file"),
        (("--task", "semantic"), "other task"),
        (("--no-resume",), "--no-resume was given"),
    ],
)
def test_a_run_with_other_settings_is_refused(ovrcoat, photos: Path, options: tuple, message: str):
    common = ("--vocabulary", "cat; dog", "--output", "out")
    ovrcoat("batch", "photos", *common)
    outcome = ovrcoat("batch", "photos", *common, *options)
    assert outcome.status == 2
    assert message in outcome.err
    assert len([line for line in outcome.err.splitlines() if line.startswith("error")]) == 1


def test_other_images_are_refused(ovrcoat, photos: Path):
    ovrcoat("batch", "photos", *OPTIONS)
    (photos / "photos" / "10.png").unlink()
    outcome = ovrcoat("batch", "photos", *OPTIONS)
    assert outcome.status == 2
    assert "other image_count, image_digest (image_count: 11 there, 10 now)" in outcome.err


def test_a_folder_of_something_else_is_refused(ovrcoat, photos: Path):
    (photos / "out").mkdir()
    (photos / "out" / "thesis.pdf").write_text("x")
    outcome = ovrcoat("batch", "photos", *OPTIONS)
    assert outcome.status == 2
    assert "holds files of other programs (thesis.pdf)" in outcome.err
    assert [path.name for path in (photos / "out").iterdir()] == ["thesis.pdf"]


def test_a_file_that_vanished_is_noticed(ovrcoat, photos: Path):
    ovrcoat("batch", "photos", *OPTIONS)
    (photos / "out/quarantine/part-00000000.parquet").unlink()
    outcome = ovrcoat("batch", "photos", *OPTIONS)
    assert outcome.status == 2
    assert "9 rows and 0 quarantined images, expected 11" in outcome.err


def test_a_damaged_file_is_named(ovrcoat, photos: Path):
    ovrcoat("batch", "photos", *OPTIONS)
    (photos / "out/images/part-00000000.parquet").write_bytes(b"PAR1")
    outcome = ovrcoat("batch", "photos", *OPTIONS)
    assert outcome.status == 2
    assert "part-00000000.parquet is damaged" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", 0), "--workers is 0, expected 1 or more"),
        (("--images-per-file", 0), "--images-per-file is 0"),
        (("--shard", "0/3"), "--shard is '0/3', expected i/n"),
    ],
)
def test_options_out_of_range_are_refused(ovrcoat, photos: Path, options: tuple, message: str):
    outcome = ovrcoat("batch", "photos", *OPTIONS, *options)
    assert (outcome.status, message in outcome.err) == (2, True)
    assert not (photos / "out").exists()


def test_quiet_prints_errors_only(ovrcoat, folder: Path):
    outcome = ovrcoat("batch", "photo.jpg", *OPTIONS, "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["format"] == "ovrcoat batch 1"
    assert record["image_count"] == 1
