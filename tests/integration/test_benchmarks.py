"""Run every benchmark at a tiny size: each one runs, and its counts are right."""

import json
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from labelled_images import make_labelled_folder
from ovrcoat import Segmenter
from ovrcoat.config import ClipTextConfig, ConvNextConfig
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.mask_files import MaskFiles
from ovrcoat.evaluation.plan import EvaluationSettings, make_plan
from ovrcoat.model.encoders.presets import CLIP_ENCODERS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ConvNextConfig(
    depths=(1, 1, 1, 1),
    widths=(8, 16, 32, 64),
    head_hidden=16,
    embedding_dim=32,
    text=ClipTextConfig(width=32, heads=2, layers=2),
)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch):
    """Add the benchmarks folder to the path, and register a tiny architecture."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setitem(CLIP_ENCODERS, "tiny", TINY)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    import models

    path = str(tmp_path / "tiny.safetensors")
    models.write_random("tiny", path)
    return path


def test_operations_are_two_per_multiply_add_and_every_part_has_some(checkpoint: str):
    import image

    counted = image.count(checkpoint, size=(96, 64), few_masks=True)
    parts = counted["parts"]
    assert min(parts[name] for name in ("encoder", "pixel_decoder", "mask_decoder", "classify")) > 0
    assert sum(parts.values()) == counted["total"]
    stem = 2 * (96 // 4) * (64 // 4) * 3 * 4 * 4 * TINY.widths[0]
    assert parts["encoder"] > stem
    tokens, channels, layers = 12 * 8 + 6 * 4 + 3 * 2, 256, 6
    assert parts["pixel_decoder"] > 2 * layers * tokens * channels * (2 * channels + 2 * 1024)
    assert parts["resize"] == 0
    assert parts["merge"] > 0  # the merge resizes by matrix products


def test_an_image_is_measured_in_parts_and_the_network_is_not_changed(checkpoint: str):
    import image
    from models import VOCABULARY, load, make_image
    from parts import PARTS, Meter, watching

    found = image.measure(checkpoint, size=(96, 64), dtype="float32", repeats=1, few_masks=True)
    assert found["input"] == (64, 96)
    assert set(found["parts"]) == set(PARTS)
    assert sum(found["parts"].values()) > 0
    assert 0 < found["best"] <= found["median"]
    assert 0 < found["memory"]["loaded"] <= found["memory"]["peak"]

    segmenter = load(checkpoint)
    before = vars(segmenter).copy(), vars(segmenter.network).keys()
    meter = Meter(iter(range(1000)).__next__)
    with watching(segmenter, meter):
        segmenter.segment(make_image(64, 48), VOCABULARY, background="none")
    assert (vars(segmenter), vars(segmenter.network).keys()) == before
    assert {part for part, steps in meter.parts.items() if steps} == set(PARTS)


def test_the_image_has_the_shape_that_gives_the_input():
    import image

    from ovrcoat.data.transforms import test_size as network_size

    class Plain:
        def with_settings(self, **settings: int) -> dict[str, int]:
            return settings

    settings, pixels = image.prepare(Plain(), (1199, 800))
    assert pixels.shape == (427, 640, 3)
    assert network_size(pixels.shape[:2], **settings) == (800, 1199)


def test_synthetic_masks_keep_the_requested_number():
    import merge

    found = merge.measure((40, 60), queries=30, kept=6, repeats=1, valid=(64, 96))
    assert 1 <= found["segments"] <= 6
    assert found["memory"] >= 0
    scored = merge.made_up(30, 6, (16, 24), categories=133)
    assert int((scored.objectness > 0.5).sum()) == 6
    assert torch.allclose(scored.category_probs.sum(-1), torch.ones(30))


def test_text_embeddings_cold_warm_and_against_the_reference_method(checkpoint: str, tmp_path: Path):
    import text

    subject = {"vocabulary": "cityscapes", "dtype": "float32", "limit": 3}
    cold, warm = (text.embed(checkpoint, **subject, cache=str(tmp_path / "embeddings")) for _ in range(2))
    assert cold["texts"] == 14 * cold["names"]
    assert cold["padded"] == 77 * cold["texts"] > cold["cut"] > cold["computed"] > 0
    assert warm["names"] == cold["names"]
    compared = text.compare(checkpoint, **subject)
    assert compared["difference"] < 1e-5
    assert compared["texts"] == 14 * 3


@pytest.mark.parametrize("variant", ["one-by-one", "overlapping"])
def test_many_images_go_from_files_to_files(
    variant: str, tiny_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
):
    import many_images

    monkeypatch.setattr(many_images, "load", lambda model, dtype: tiny_segmenter)
    monkeypatch.setattr(many_images, "WARM_UP", 0)
    options = {"model": "tiny", "dtype": "float32", "short_side": 64, "folder": None}
    found = many_images.run(Namespace(**options, images=3, variant=variant, batch_size=1))
    assert found["seconds"] > 0
    assert [stage for stage, _, _ in found["memory"]] == [0.1, 0.5, 1.0]


def test_merging_is_compared_with_transformers():
    pytest.importorskip("transformers")
    import hugging_face

    settings = {"queries": 20, "kept": 8, "repeats": 1}
    ours = hugging_face.our_merge((40, 60), **settings)
    theirs = hugging_face.their_merge((40, 60), **settings)
    assert ours["collisions"] == 0
    assert ours["segments"] == theirs["segments"] > 1
    assert np.mean(np.equal(ours["categories"], theirs["categories"])) > 0.8


def test_networks_of_transformers_have_equal_widths(checkpoint: str):
    transformers = pytest.importorskip("transformers")
    import hugging_face
    import models

    settings = {"size": (64, 96), "repeats": 1}
    theirs = hugging_face.their_network(model="tiny", **settings)
    ours = hugging_face.our_network(model=checkpoint, **settings)
    assert theirs["parts"].keys() == ours["parts"].keys()
    network = transformers.Mask2FormerForUniversalSegmentation(hugging_face.their_config("tiny", queries=250))
    own = models.load(checkpoint).network

    def size(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    level = network.model.pixel_level_module
    assert size(level.decoder) == size(own.pixel_decoder)
    # transformers has only a linear map as category head, and no projection of pooled mask features
    heads = own.mask_decoder.pooled_projection, own.mask_decoder.embedding_head
    assert size(network.model.transformer_module) == size(own.mask_decoder) - sum(map(size, heads))


def test_equal_pixels_belong_to_paired_segments():
    from dtype_effect import equal_share

    from ovrcoat.results import PanopticResult
    from ovrcoat.results.segment import Segment
    from ovrcoat.vocabulary import Vocabulary

    def result(ids: list[int], categories: list[int]) -> PanopticResult:
        id_map = np.array([ids], np.int32)
        segments = tuple(
            Segment(
                id=place,
                category_id=category,
                category=f"category {category}",
                score=1.0,
                area=ids.count(place),
                bbox=(0, 0, 1, 1),
                is_thing=True,
                objectness=1.0,
                objectness_before=1.0,
                clip_confidence=1.0,
                top=(),
                query=place,
            )
            for place, category in enumerate(categories, start=1)
        )
        pixels = np.zeros((1, len(ids), 3), np.uint8)
        return PanopticResult(id_map, segments, Vocabulary.parse("cat; dog").categories, pixels, None)

    one = result([0, 1, 1, 2, 2, 2], [1, 2])
    assert equal_share(one, one) == 1
    assert equal_share(one, result([0, 2, 2, 1, 1, 1], [2, 1])) == 1  # other ids
    assert equal_share(one, result([0, 1, 1, 2, 2, 2], [1, 1])) == pytest.approx(3 / 6)  # another category
    assert equal_share(one, result([0, 0, 0, 0, 0, 0], [])) == pytest.approx(1 / 6)


def test_rates_and_numbers_are_formatted():
    import machine
    import report

    rates = machine.MatrixRate(["float32"], seconds=0.0)
    found = rates.around(lambda: {"best": 1.0}, "float32")
    assert found["rate"] == max(rates.samples["float32"])
    least, median, largest = rates.spread("float32")
    assert 0 < least <= median <= largest
    assert machine.extra_memory(lambda: np.ones(50_000_000 // 8)) >= 45_000_000
    assert {"processor", "bfloat16", "torch", "ovrcoat"} <= machine.describe().keys()
    assert (report.seconds(0.0123), report.seconds(12.345)) == ("12.3 ms", "12.35 s")
    assert (report.memory(2.5e9), report.memory(3e6)) == ("2.50 GB", "3 MB")
    assert (report.operations(1.33e12), report.operations(0)) == ("1.33 TFLOP", "0")


@pytest.mark.parametrize("with_objectness", [True, False])
def test_masks_in_files_are_those_of_the_network(tmp_path: Path, *, with_objectness: bool):
    import coat
    import models

    nano = models.load("nano").with_settings(short_side=64)
    dataset = open_dataset(make_labelled_folder(tmp_path / "data", nano, images=2, trust=1))
    plan = make_plan(nano, dataset, settings=EvaluationSettings(trusts=(0.0,), protocol="model"))
    (tmp_path / "masks").mkdir()
    coat.write_masks(plan, dataset, tmp_path / "masks", with_objectness=with_objectness)
    record = plan.records[0]
    found = MaskFiles(tmp_path / "masks").read(record.image, dataset.panoptic(record).id_map.shape)
    prompt = nano.prompt(plan.vocabulary, trust=0, background="none")
    masks = nano.encode(dataset.image(record)).predict_explained(prompt).masks
    kept = [mask for mask in sorted(masks, key=lambda mask: mask.query) if mask.area]
    assert found.masks.sum(axis=(1, 2)).tolist() == [mask.area for mask in kept]
    expected = [mask.objectness_before if with_objectness else 1.0 for mask in kept]
    np.testing.assert_allclose(found.objectness, expected)


def test_a_failed_measurement_reports_the_reason():
    import processes

    assert processes.own_process("report.memory", count=3e9) == "3.00 GB"
    with pytest.raises(processes.MeasurementError, match="unexpected keyword argument"):
        processes.own_process("report.memory", nothing=1)


def test_one_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import image_page
    import run

    def here(function: str, **arguments: object) -> object:
        module, name = function.split(".")
        answer = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
        return json.loads(json.dumps(answer))

    for module in (run, image_page):
        monkeypatch.setattr(module, "own_process", here)
    monkeypatch.setenv("OVRCOAT_CACHE", "none")  # it sets another one
    page = tmp_path / "page.md"
    options = ["--size", "96", "64", "--dtype", "float32", "--only", "image", "hf", "--repeats", "1"]
    monkeypatch.setattr(run.sections, "find_spec", lambda name: None)
    assert run.main(["--model", "tiny", *options, "--rate-seconds", "0", "--markdown", str(page)]) == 0
    written = page.read_text()
    assert written.startswith("# Benchmarks\n")
    assert "matrix products, float32" in written
    assert "the network input is 96 × 64" in written
    assert "| **whole path** |" in written
    assert "Not installed (extra `bench`)" in written


STUB = """
import numpy as np
__version__ = {version!r}
class Result:
    id_map = np.full((2, 2), {id})
class Segmenter:
    @classmethod
    def load(cls, name, device):
        assert (name, device) == ("nano", "cpu")
        print("this line must not disturb the measurement")
        return cls()
    def segment(self, image, vocabulary):
        return Result()
    def segment_many(self, images, vocabulary):
        return ((image, Result()) for image in images)
"""


def stub_checkout(folder: Path, *, version: str, id: int = 1) -> Path:
    package = folder / "src" / "ovrcoat"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STUB.format(version=version, id=id))
    (package / "__main__.py").write_text("")
    return folder


def test_two_versions_are_compared_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import compare_versions

    monkeypatch.setattr(compare_versions, "THIS", stub_checkout(tmp_path / "new", version="2.0"))
    other = stub_checkout(tmp_path / "old", version="1.0", id=7)
    options = ["--rounds", "2", "--calls", "3", "--images", "4", "--commands", "1", "--size", "40", "30"]
    assert compare_versions.main([str(other), *options]) == 0
    printed = capsys.readouterr().out
    assert "2.0" in printed
    assert "1.0" in printed
    assert "id maps of both versions: DIFFERENT" in printed
    for title in ("one image of 40 × 30", "many images (4), per image", "ovrcoat segment, whole process"):
        assert title in printed
    assert printed.count("noise: within") + printed.count("): within noise") + printed.count("outside") == 3


def test_a_version_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import compare_versions

    monkeypatch.setattr(compare_versions, "THIS", stub_checkout(tmp_path / "new", version="2.0"))
    other = stub_checkout(tmp_path / "old", version="1.0")
    (other / "src" / "ovrcoat" / "__init__.py").write_text("raise RuntimeError('broken')")
    assert compare_versions.main([str(other), "--images", "2", "--size", "40", "30"]) == 1
    assert "error: other checkout" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        compare_versions.main([str(tmp_path)])
    assert "is not a checkout" in capsys.readouterr().err


def test_differences_are_judged_by_the_noise_of_the_same_run():
    import compare_versions

    def samples(other: float) -> compare_versions.Samples:
        found = compare_versions.Samples()
        for noise in (1.0, 1.02, 0.98):
            found.add(compare_versions.THIS_NAME, [1.0, 1.0, 5.0])
            found.add(compare_versions.OTHER_NAME, [other])
            found.add(compare_versions.CONTROL_NAME, [noise])
        return found

    assert "ratio 1.010 (1.010 to 1.010)" in compare_versions.report("a", samples(1 / 1.01))
    assert compare_versions.report("a", samples(1 / 1.01)).endswith("within noise")
    assert compare_versions.report("a", samples(0.9)).endswith("outside noise")
    first = [compare_versions.rotated([1, 2, 3], number)[0] for number in range(6)]
    assert sorted(first) == [1, 1, 2, 2, 3, 3]
