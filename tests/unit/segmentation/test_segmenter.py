import copy
import gc
import io
import pickle
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovrcoat.checkpoints.native import LoadedModel
from ovrcoat.data.images import read_image
from ovrcoat.errors import ConfigError, ImageError, VocabularyError
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.segmentation import loading
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.structures import Encoding
from ovrcoat.vocabulary import Vocabulary
from tiny_network import make_network

# 64 × 64, 64 × 96 (twice), 96 × 64, 32 × 128 after resizing and padding
SIZES = [(40, 40), (40, 56), (64, 81), (56, 40), (10, 100)]


def make_images(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def assert_same(first: Any, second: Any) -> None:
    """Two panoptic results agree; a batch rounds floats a little differently than a single photo."""
    assert [(s.category, s.area, s.bbox) for s in first.segments] == [
        (s.category, s.area, s.bbox) for s in second.segments
    ]
    np.testing.assert_array_equal(first.id_map, second.id_map)
    for mine, other in zip(first.segments, second.segments, strict=True):
        assert mine.score == pytest.approx(other.score, abs=1e-5)


class TestSegment:
    def test_a_panoptic_result_at_the_size_of_the_image(
        self, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary, image_pixels: np.ndarray
    ) -> None:
        result = tiny_segmenter.segment(image_pixels, tiny_vocabulary, background="none")
        assert isinstance(result, PanopticResult)
        assert result.id_map.shape == (40, 56)
        assert len(result.segments) > 2
        assert [segment.id for segment in result.segments] == list(range(1, len(result.segments) + 1))
        assert [segment.area for segment in result.segments] == [
            int((result.id_map == segment.id).sum()) for segment in result.segments
        ]
        assert result.categories == tiny_vocabulary.categories
        np.testing.assert_array_equal(result.image, image_pixels)
        assert result.name is None

    @pytest.mark.parametrize(
        ("task", "kind"),
        [("panoptic", PanopticResult), ("semantic", SemanticResult), ("instance", InstanceResult)],
    )
    def test_every_task(
        self,
        task: Any,
        kind: type,
        tiny_segmenter: Segmenter,
        tiny_vocabulary: Vocabulary,
        image_pixels: np.ndarray,
    ) -> None:
        result = tiny_segmenter.segment(image_pixels, tiny_vocabulary, task=task, background="none")
        assert isinstance(result, kind)
        assert result.size == (40, 56)
        assert len(result.segments) > 0

    def test_exif_rotation_and_the_file_name_reach_the_result(
        self, tiny_segmenter: Segmenter, tmp_path: Path, image_pixels: np.ndarray
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying, to be shown standing
        Image.fromarray(image_pixels).save(tmp_path / "street.jpg", exif=exif.tobytes())
        result = tiny_segmenter.segment(tmp_path / "street.jpg", "cat; dog")
        assert result.id_map.shape == (56, 40)
        assert result.image is not None
        assert result.image.shape == (56, 40, 3)
        assert result.name == "street.jpg"

    @pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
    def test_smallest_and_strips(self, tiny_segmenter: Segmenter, size: tuple[int, int]) -> None:
        result = tiny_segmenter.segment(np.zeros((*size, 3), np.uint8), "cat; dog", background="none")
        assert result.id_map.shape == size

    def test_words_of_every_form(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        expected = tiny_segmenter.segment(image_pixels, "cat; dog")
        for words in (["cat", "dog"], Vocabulary.of("cat", "dog")):
            assert_same(tiny_segmenter.segment(image_pixels, words), expected)

    def test_coat_raises_objectness_and_saves_a_mask(
        self, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        plain, trusting = (
            tiny_segmenter.segment(encoded, tiny_vocabulary, background="none", trust=trust)
            for trust in (0, 1)
        )
        assert len(trusting.segments) > len(plain.segments)
        assert all(segment.objectness == segment.objectness_before for segment in plain.segments)
        assert all(segment.objectness > segment.objectness_before for segment in trusting.segments)

    @pytest.mark.parametrize(("task", "trust"), [("panoptic", 0.5), ("instance", 0.5), ("semantic", 0.0)])
    def test_the_usual_trust_depends_on_the_task(
        self, task: Any, trust: float, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        usual = encoded.segment("cat; dog", task=task, background="none")
        given = encoded.segment("cat; dog", task=task, background="none", trust=trust)
        other = encoded.segment("cat; dog", task=task, background="none", trust=0.9)
        assert usual.segments == given.segments
        assert [segment.objectness for segment in usual.segments] != [
            segment.objectness for segment in other.segments
        ]

    def test_thresholds_discard(
        self, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        assert len(encoded.segment(tiny_vocabulary, background="none").segments) > 0
        for option in ({"object_mask_threshold": 1.0}, {"overlap_threshold": 100}):
            assert encoded.segment(tiny_vocabulary, background="none", **option).segments == ()

    def test_hidden_words_lower_clips_certainty_and_stay_unseen(
        self, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary, image_pixels: np.ndarray
    ) -> None:
        alone = tiny_segmenter.segment(image_pixels, tiny_vocabulary, background="none")
        rivalled = tiny_segmenter.segment(image_pixels, tiny_vocabulary)
        clip_confidence = {segment.query: segment.clip_confidence for segment in alone.segments}
        shared = [segment for segment in rivalled.segments if segment.query in clip_confidence]
        assert shared
        assert all(segment.clip_confidence < clip_confidence[segment.query] for segment in shared)
        assert rivalled.categories == tiny_vocabulary.categories
        assert {segment.category for segment in rivalled.segments} <= {"cat", "sofa", "wall"}


class TestEncodeOnce:
    def test_the_network_runs_once_for_many_vocabularies(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        for words in ("cat; dog", "sky; road", "cat"):
            for trust in (0.0, 0.5):
                assert_same(
                    encoded.segment(words, trust=trust, background="none"),
                    tiny_segmenter.segment(encoded, words, trust=trust, background="none"),
                )
        assert tiny_segmenter.network.encoder.batch_sizes == [1]
        assert_same(encoded.segment("cat; dog"), tiny_segmenter.segment(image_pixels, "cat; dog"))

    def test_an_encoded_image_holds_the_image_once(
        self, tiny_segmenter: Segmenter, tmp_path: Path, image_pixels: np.ndarray
    ) -> None:
        Image.fromarray(image_pixels).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        encoded = tiny_segmenter.encode(image)
        assert encoded.pixels is image.pixels
        assert encoded.name == "a.png"
        assert encoded.segment("cat").image is image.pixels
        assert not encoded.encoding.proposals.mask_logits.requires_grad

    def test_another_segmenters_image_is_refused(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        other = Segmenter(
            make_network(),
            config=tiny_segmenter.config,
            training_vocabulary=tiny_segmenter.training_vocabulary,
            provenance={},
            device="cpu",
        )
        with pytest.raises(ConfigError, match="encoded by another network; encode it with this segmenter"):
            other.segment(tiny_segmenter.encode(image_pixels), "cat")

    def test_segmenters_of_one_network_and_size_share_encoded_images(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        trusting = tiny_segmenter.with_settings(trust=0.9)
        assert_same(trusting.segment(encoded, "cat; dog"), encoded.segment("cat; dog", trust=0.9))
        assert tiny_segmenter.network.encoder.batch_sizes == [1]
        with pytest.raises(
            ConfigError, match=r"encoded at test resolution \(64, 128\), but .* uses \(32, 128\)"
        ):
            tiny_segmenter.with_settings(short_side=32).segment(encoded, "cat")

    def test_many_threads_get_the_same_results(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        expected = tiny_segmenter.segment(image_pixels, "cat; dog", background="none")
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(tiny_segmenter.segment, image_pixels, "cat; dog", background="none")
                for _ in range(12)
            ]
        for job in jobs:
            assert_same(job.result(), expected)


class TestMany:
    @pytest.mark.parametrize("batch_size", [2, 3, 5, 9])
    def test_a_batch_equals_its_images_one_by_one(
        self, batch_size: int, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary
    ) -> None:
        images = make_images(SIZES)
        single = [tiny_segmenter.segment(image, tiny_vocabulary, background="none") for image in images]
        together = [
            result
            for _, result in tiny_segmenter.segment_many(
                images, tiny_vocabulary, batch_size=batch_size, background="none", task="panoptic"
            )
        ]
        assert sum(len(result.segments) for result in single) > 5
        for one, other, size in zip(single, together, SIZES, strict=True):
            assert one.size == size
            assert_same(one, other)

    def test_only_images_of_one_padded_size_share_a_batch(self, tiny_segmenter: Segmenter) -> None:
        encoded = [item for _, item in tiny_segmenter.encode_many(make_images(SIZES), batch_size=4)]
        assert tiny_segmenter.network.encoder.batch_sizes == [1, 2, 1, 1]
        assert [item.sizes.output for item in encoded] == SIZES
        assert encoded[1].sizes.padded == encoded[2].sizes.padded == (64, 96)

    def test_an_encoded_image_does_not_keep_its_batch_mates(self, tiny_segmenter: Segmenter) -> None:
        (_, first), _ = tiny_segmenter.encode_many(make_images([(40, 40), (64, 64)]), batch_size=2)
        mask_logits = first.encoding.proposals.mask_logits
        assert mask_logits.untyped_storage().nbytes() == mask_logits.nbytes

    def test_images_are_read_when_they_are_needed(self, tiny_segmenter: Segmenter) -> None:
        read = []

        def source() -> Any:
            for image in make_images([(40, 40)] * 6):
                read.append(image)
                yield image

        results = tiny_segmenter.segment_many(source(), "cat", batch_size=2)
        assert read == []
        next(results)
        assert len(read) == 2

    def test_files_of_alternating_sizes_fill_their_batches(
        self, tmp_path: Path, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary
    ) -> None:
        paths = [tmp_path / f"{number}.png" for number in range(8)]
        for path, pixels in zip(paths, make_images([(40, 40), (40, 56)] * 4), strict=True):
            Image.fromarray(pixels).save(path)
        single = [tiny_segmenter.segment(path, tiny_vocabulary, background="none") for path in paths]
        tiny_segmenter.network.encoder.batch_sizes.clear()
        pairs = list(tiny_segmenter.segment_many(paths, tiny_vocabulary, batch_size=4, background="none"))
        assert [source for source, _ in pairs] == paths
        together = [result for _, result in pairs]
        assert tiny_segmenter.network.encoder.batch_sizes == [4, 4]
        assert [result.name for result in together] == [path.name for path in paths]
        for one, other in zip(single, together, strict=True):
            assert_same(one, other)

    def test_closing_early_stops_reading(self, tmp_path: Path, tiny_segmenter: Segmenter) -> None:
        Image.fromarray(make_images([(40, 40)])[0]).save(tmp_path / "a.png")
        results = tiny_segmenter.segment_many([tmp_path / "a.png"] * 50, "cat")
        next(results)
        results.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]

    def test_no_more_encoded_images_live_than_are_promised(
        self, tmp_path: Path, tiny_segmenter: Segmenter
    ) -> None:
        for number, pixels in enumerate(make_images([(40, 40), (40, 56), (56, 40)])):
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        paths = [tmp_path / f"{number % 3}.png" for number in range(24)]
        gc.collect()  # other tests can leave encoded images in reference cycles
        most = 0
        for pair in tiny_segmenter.encode_many(paths, batch_size=4):
            del pair
            most = max(most, sum(type(thing) is Encoding for thing in gc.get_objects()))
        assert 4 <= most <= 2 * 4
        most = 0
        for _ in tiny_segmenter.segment_many(paths, "cat"):
            most = max(most, sum(type(thing) is Encoding for thing in gc.get_objects()))
        assert most == 0  # the caller holds a result, and no encoded image exists

    def test_a_bad_image_raises(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        results = tiny_segmenter.segment_many([image_pixels, "gone.jpg", image_pixels], "cat")
        source, result = next(results)
        assert source is image_pixels
        assert isinstance(result, PanopticResult)
        with pytest.raises(ImageError, match=r"gone\.jpg: there is no such file"):
            next(results)

    def test_a_bad_image_is_skipped_with_a_warning(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        images = [b"", image_pixels, "gone.jpg", image_pixels]
        with pytest.warns(UserWarning, match="skipped: ") as caught:
            results = list(tiny_segmenter.segment_many(images, "cat", batch_size=3, on_error="skip"))
        assert len(results) == 2
        assert len(caught) == 2

    def test_an_unreadable_image_can_be_yielded_with_its_error(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        images = ["gone.jpg", image_pixels]
        (source, error), (other, result) = tiny_segmenter.segment_many(images, "cat", on_error="yield")
        assert source == "gone.jpg"
        assert isinstance(error, ImageError)
        assert str(error) == "gone.jpg: there is no such file; check the path"
        assert other is image_pixels
        assert isinstance(result, PanopticResult)

    def test_a_prompt_serves_many_images(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray, tiny_vocabulary: Vocabulary
    ) -> None:
        prompt = tiny_segmenter.prompt(tiny_vocabulary, background="none", trust=0.3)
        expected = tiny_segmenter.segment(image_pixels, tiny_vocabulary, background="none", trust=0.3)
        for _, result in tiny_segmenter.predict_many([image_pixels] * 2, prompt):
            assert_same(result, expected)
        assert_same(tiny_segmenter.encode(image_pixels).predict(prompt), expected)

    def test_words_and_options_are_checked_before_any_image(self, tiny_segmenter: Segmenter) -> None:
        with pytest.raises(VocabularyError):
            tiny_segmenter.segment_many(["gone.jpg"], "")
        with pytest.raises(ConfigError, match="batch_size is 0, expected 1 or more"):
            tiny_segmenter.segment_many(["gone.jpg"], "cat", batch_size=0)
        with pytest.raises(ConfigError, match="but one came: put it in a list"):
            tiny_segmenter.encode_many("gone.jpg")

    def test_no_images_no_results(self, tiny_segmenter: Segmenter) -> None:
        assert list(tiny_segmenter.segment_many([], "cat")) == []


class TestBadInput:
    @pytest.mark.parametrize(
        "content", [b"", b"no image", b"\xff\xd8\xff\xe0cut off"], ids=["empty", "text", "truncated"]
    )
    def test_bad_images(self, tiny_segmenter: Segmenter, content: bytes) -> None:
        with pytest.raises(ImageError, match="the given bytes: "):
            tiny_segmenter.segment(content, "cat")

    @pytest.mark.filterwarnings("ignore:.*last band is declared as alpha")
    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1", "LA"])
    def test_every_mode_gives_a_result(self, tiny_segmenter: Segmenter, mode: str) -> None:
        buffer = io.BytesIO()
        Image.new(mode, (30, 20)).save(buffer, "TIFF")
        assert tiny_segmenter.segment(buffer.getvalue(), "cat").id_map.shape == (20, 30)

    def test_the_words_come_first(self, tiny_segmenter: Segmenter) -> None:
        with pytest.raises(VocabularyError):
            tiny_segmenter.segment("gone.jpg", [])


class TestLoad:
    def test_a_checkpoint_becomes_a_segmenter(
        self,
        tiny_segmenter: Segmenter,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        image_pixels: np.ndarray,
    ) -> None:
        path = tmp_path / "mine.safetensors"
        path.touch()
        asked = []

        def load(path: Path, *, device: torch.device, image_dtype: torch.dtype) -> LoadedModel:
            asked.append((path, device, image_dtype))
            return LoadedModel(
                tiny_segmenter.network,
                config=tiny_segmenter.config,
                training_vocabulary=tiny_segmenter.training_vocabulary,
                provenance={"source": "here"},
                text_embeddings={
                    "cat": tiny_segmenter.network.embed_names(["cat"], tiny_segmenter.config.templates)[0]
                },
            )

        monkeypatch.setattr(loading.native, "load", load)
        loaded = Segmenter.load(path, device="cpu", dtype="float32")
        assert asked == [(path, torch.device("cpu"), torch.float32)]
        assert loaded.provenance == {"source": "here"}
        assert loaded.device == torch.device("cpu")
        assert_same(loaded.segment(image_pixels, "cat"), tiny_segmenter.segment(image_pixels, "cat"))

    def test_an_unknown_model(self) -> None:
        with pytest.raises(ConfigError, match=r"unknown model 'nanno'.*did you mean 'nano'"):
            Segmenter.load("nanno")

    def test_an_unknown_device(self) -> None:
        with pytest.raises(ConfigError, match=r"no device 'cpuu' on this machine; .*did you mean 'cpu'"):
            Segmenter.load("nano", device="cpuu")

    def test_the_network_is_put_into_eval_mode(self, tiny_segmenter: Segmenter) -> None:
        network = tiny_segmenter.network.train()
        Segmenter(
            network,
            config=tiny_segmenter.config,
            training_vocabulary=tiny_segmenter.training_vocabulary,
            provenance={},
            device="cpu",
        )
        assert not network.training


class TestClassifyMasks:
    @pytest.fixture
    def masks(self) -> np.ndarray:
        masks = np.zeros((3, 40, 56), dtype=bool)
        masks[0, 10:30, 5:25] = True
        masks[1, 20:38, 30:50] = True
        masks[2, 7, 9] = True  # far smaller than a cell of CLIP's map
        return masks

    def test_one_label_per_mask(
        self,
        tiny_segmenter: Segmenter,
        tiny_vocabulary: Vocabulary,
        image_pixels: np.ndarray,
        masks: np.ndarray,
    ) -> None:
        labels = tiny_segmenter.classify_masks(image_pixels, masks, tiny_vocabulary, background="none")
        assert len(labels) == 3
        for label in labels:
            assert label.category == label.top[0][0]
            assert label.category_id in {1, 2, 3, 4}
            assert label.score == label.clip_confidence == label.top[0][1]
            assert sum(score for _, score in label.top) == pytest.approx(1, abs=1e-5)
            assert [score for _, score in label.top] == sorted(
                (score for _, score in label.top), reverse=True
            )
        assert labels[0].top != labels[1].top

    def test_it_is_clips_opinion_of_what_the_mask_covers(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        """A mask over everything averages CLIP's whole map."""
        everything = np.ones((1, 40, 56), dtype=bool)
        (label,) = tiny_segmenter.classify_masks(image_pixels, everything, "cat; dog", background="none")
        encoder = tiny_segmenter.network.encoder
        with torch.inference_mode():
            encoded = tiny_segmenter.encode(image_pixels)
            embedding = encoder.projection(encoded.encoding.clip_features.mean((2, 3)))
            rows = tiny_segmenter.network.embed_names(["cat", "dog"], tiny_segmenter.config.templates)
            scale = encoder.logit_scale.exp()
            probs = (scale * torch.cosine_similarity(embedding, rows)).softmax(-1)
        assert dict(label.top) == pytest.approx({"cat": float(probs[0]), "dog": float(probs[1])}, abs=1e-5)

    @pytest.mark.parametrize(
        "convert",
        [lambda masks: masks.astype(np.uint8) * 255, torch.from_numpy, list],
        ids=["integers", "tensor", "list"],
    )
    def test_masks_of_every_form(
        self, convert: Any, tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        assert tiny_segmenter.classify_masks(
            encoded, convert(masks), "cat; dog"
        ) == tiny_segmenter.classify_masks(image_pixels, masks, "cat; dog")

    def test_an_encoded_image_is_not_encoded_again(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        tiny_segmenter.classify_masks(encoded, masks, "cat; dog")
        assert tiny_segmenter.network.encoder.batch_sizes == [1]

    def test_a_mask_never_depends_on_its_neighbours(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray
    ) -> None:
        together = tiny_segmenter.classify_masks(image_pixels, masks, "cat; dog")
        for mask, label in zip(masks, together, strict=True):
            (alone,) = tiny_segmenter.classify_masks(image_pixels, mask[None], "cat; dog")
            assert alone.category == label.category
            assert alone.score == pytest.approx(label.score, abs=1e-6)

    def test_a_hidden_word_that_fits_better_leaves_no_name(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray
    ) -> None:
        one, other = (
            tiny_segmenter.classify_masks(image_pixels, masks[:1], words, background=background)[0]
            for words, background in (("cat", "dog"), ("dog", "cat"))
        )
        assert {one.category, other.category} in ({"cat", None}, {"dog", None})
        loser = one if one.category is None else other
        assert loser.category_id is None
        assert loser.score < 0.5 < loser.clip_confidence

    def test_no_masks(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        assert tiny_segmenter.classify_masks(image_pixels, [], "cat") == ()

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (
                np.ones((40, 56), bool),
                r"shape \(40, 56\), expected \(N, 40, 56\).*For a single mask pass mask\[None\]",
            ),
            (np.ones((1, 56, 40), bool), r"shape \(1, 56, 40\), expected \(N, 40, 56\)"),
            (np.ones((1, 40, 56)), "dtype float64, expected bool or integers; threshold them first"),
            (np.zeros((2, 40, 56), bool), r"masks \[0, 1\] are empty; leave them out"),
        ],
    )
    def test_masks_that_do_not_fit(
        self, bad: np.ndarray, message: str, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        with pytest.raises(ImageError, match=message):
            tiny_segmenter.classify_masks(image_pixels, bad, "cat")


def test_nothing_warns_in_ordinary_use(tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny_segmenter.segment(image_pixels, "cat; dog")
    assert caught == []


class TestExplain:
    def test_the_result_is_that_of_segment_and_every_mask_has_a_fate(
        self, tiny_segmenter: Segmenter, tiny_vocabulary: Vocabulary, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        explanation = encoded.explain(tiny_vocabulary, trust=0.3, background="none")
        assert_same(explanation.result, encoded.segment(tiny_vocabulary, trust=0.3, background="none"))
        assert len(explanation.masks) == encoded.encoding.proposals.mask_logits.shape[1]
        assert {mask.segment_id for mask in explanation.masks} - {None} == {
            segment.id for segment in explanation.result.segments
        }

    def test_overlaps_are_counted_at_the_size_of_the_image(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        everywhere = np.zeros((40, 56), dtype=np.int32)
        overlaps = encoded.overlaps(everywhere, region_count=1)
        assert overlaps.regions.tolist() == [40 * 56]
        assert 0 < overlaps.shared.max() <= 40 * 56
        with pytest.raises(ImageError, match=r"shape \(56, 40\), expected \(40, 56\)"):
            encoded.overlaps(everywhere.T, region_count=1)


class TestPickle:
    def test_an_encoded_image_is_pickled_without_its_network(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        data = pickle.dumps(encoded)
        tensors = (
            encoded.encoding.proposals.mask_logits,
            encoded.encoding.proposals.embeddings,
            encoded.encoding.proposals.query_embeddings,
            encoded.encoding.clip.embeddings,
            encoded.encoding.clip_features,
        )
        assert len(data) < sum(tensor.nbytes for tensor in tensors) + image_pixels.nbytes + 20_000
        restored = pickle.loads(data)
        with pytest.raises(
            ConfigError, match="unpickled and has no network: pass it to a segmenter of the same"
        ):
            restored.segment("cat")
        assert_same(tiny_segmenter.segment(restored, "cat; dog"), encoded.segment("cat; dog"))
        assert len(tiny_segmenter.classify_masks(restored, np.ones((1, 40, 56), bool), "cat")) == 1
        again = pickle.loads(pickle.dumps(restored))
        assert_same(tiny_segmenter.segment(again, "cat; dog"), encoded.segment("cat; dog"))

    def test_another_network_refuses_it(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        restored = pickle.loads(pickle.dumps(tiny_segmenter.encode(image_pixels)))
        with torch.no_grad():
            tiny_segmenter.network.text_classifier.logit_scale += 1
        with pytest.raises(ConfigError, match="encoded by another network"):
            tiny_segmenter.segment(restored, "cat")

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
    def test_a_segmenter_can_be_pickled_and_copied(
        self,
        tiny_segmenter: Segmenter,
        image_pixels: np.ndarray,
        duplicate: Callable[[Segmenter], Segmenter],
    ) -> None:
        expected = tiny_segmenter.segment(image_pixels, "cat; sky#stuff", overlap_threshold=0)
        result = duplicate(tiny_segmenter).segment(image_pixels, "cat; sky#stuff", overlap_threshold=0)
        np.testing.assert_array_equal(result.id_map, expected.id_map)

    def test_results_can_be_pickled(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        result = tiny_segmenter.segment(image_pixels, "cat; dog")
        assert_same(pickle.loads(pickle.dumps(result)), result)


class TestRepr:
    def test_short_and_telling(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        encoded = tiny_segmenter.encode(image_pixels)
        assert repr(encoded) == "<EncodedImage 56 × 40 pixels>"
        explanation = encoded.explain("cat; dog", background="none")
        assert repr(explanation).startswith("<Explanation of <PanopticResult 56 × 40 pixels, ")
        summary = explanation.summary(limit=3)
        assert summary.startswith(f"{len(explanation.masks)} masks: ")
        assert summary.count("rejected: ") <= 3
        best = max(
            (mask for mask in explanation.masks if mask.segment_id is None), key=lambda mask: mask.score
        )
        assert f"query {best.query}: {best.category} {best.score:.2f}" in summary


class TestWithSettings:
    def test_another_size_shares_the_network(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        small = tiny_segmenter.with_settings(short_side=32)
        assert small.network is tiny_segmenter.network
        assert min(small.encode(image_pixels).sizes.valid) == 32
        assert min(tiny_segmenter.encode(image_pixels).sizes.valid) != 32

    def test_a_wrong_setting_is_named(self, tiny_segmenter: Segmenter) -> None:
        with pytest.raises(ConfigError, match=r"shrot_side: Extra inputs.*Valid settings: alpha"):
            tiny_segmenter.with_settings(shrot_side=32)
        with pytest.raises(ConfigError, match="overlap_threshold"):
            tiny_segmenter.with_settings(overlap_threshold=-1)
