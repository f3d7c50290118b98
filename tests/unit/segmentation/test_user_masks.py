"""Your own masks through classification, COAT and results."""

import numpy as np
import pytest
import torch

from ovrcoat import Segmenter
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.segmentation import user_masks

OPTIONS = {"background": "none"}


@pytest.fixture
def masks() -> np.ndarray:
    """Two masks that overlap in rows 18 to 21."""
    found = np.zeros((2, 40, 56), dtype=bool)
    found[0, :22, 3:50], found[1, 18:] = True, True
    return found


def test_segments_have_exactly_the_pixels_of_the_masks(
    tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray
):
    encoded = tiny_segmenter.encode(image_pixels).with_masks(masks, [1.0, 0.7])
    result = encoded.segment("cat; dog", trust=0, **OPTIONS)
    first, second = sorted(result.segments, key=lambda segment: segment.query)
    scores = first.score, second.score
    assert scores[0] > scores[1]  # so that the overlap belongs to the first mask
    assert np.array_equal(result.id_map == first.id, masks[0])
    assert np.array_equal(result.id_map == second.id, masks[1] & ~masks[0])


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_coat_adjusts_the_objectness_that_masks_bring(
    tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray, trust: float
):
    encoded = tiny_segmenter.encode(image_pixels).with_masks(masks, [0.3, 1.0])
    explanation = encoded.explain("cat; dog", trust=trust, **OPTIONS)
    for mask in explanation.masks:
        before = (0.3, 1.0)[mask.query]
        assert mask.objectness_before == pytest.approx(before, abs=1e-6)
        expected = 1 - (1 - before) * (1 - trust * mask.clip_confidence)
        assert mask.objectness == pytest.approx(expected, abs=1e-6)


def test_the_names_are_those_of_clip(tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray):
    vocabulary = "cat; dog; sky#stuff; road#stuff"  # cat and sky are seen
    labels = tiny_segmenter.classify_masks(image_pixels, masks, vocabulary, **OPTIONS)
    encoded = tiny_segmenter.encode(image_pixels).with_masks(masks)
    explanation = encoded.explain(vocabulary, trust=0, **OPTIONS)
    for mask in explanation.masks:
        assert mask.category == labels[mask.query].category
        assert mask.score == pytest.approx(labels[mask.query].score, abs=1e-5)


def test_instances_may_overlap(tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray):
    encoded = tiny_segmenter.encode(image_pixels).with_masks(torch.from_numpy(masks))
    result = encoded.segment("cat", task="instance", **OPTIONS)
    assert sorted(segment.area for segment in result.segments) == sorted(masks.sum(axis=(1, 2)).tolist())


def test_no_masks_leave_everything_void(tiny_segmenter: Segmenter, image_pixels: np.ndarray):
    result = tiny_segmenter.encode(image_pixels).with_masks([]).segment("cat", **OPTIONS)
    assert result.segments == ()
    assert not result.id_map.any()


def test_the_original_is_unchanged(tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray):
    encoded = tiny_segmenter.encode(image_pixels)
    before = encoded.segment("cat; dog", **OPTIONS)
    encoded.with_masks(masks).segment("cat; dog", **OPTIONS)
    assert np.array_equal(encoded.segment("cat; dog", **OPTIONS).id_map, before.id_map)


def test_many_large_masks_are_stored_at_a_fraction_of_their_size(
    tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(user_masks, "MAX_LOGITS", 2 * 14 * 19)
    encoded = tiny_segmenter.encode(image_pixels).with_masks(masks, [1.0, 0.7])
    assert encoded.encoding.proposals.mask_logits.shape == (1, 2, 14, 19)  # a third, rounded up
    result = encoded.segment("cat; dog", trust=0, **OPTIONS)
    first = min(result.segments, key=lambda segment: segment.query)
    wrong = (result.id_map == first.id) ^ masks[0]
    assert wrong.mean() < 0.05  # at the outline only


@pytest.mark.parametrize(
    ("objectness", "message"),
    [
        ([0.5], r"objectness has shape \(1,\)"),
        ([0.5, 1.5], "objectness must be from 0 to 1"),
        ([0.5, float("nan")], "objectness must be from 0 to 1"),
        (["a", "b"], "objectness has shape"),
    ],
)
def test_bad_objectness(
    tiny_segmenter: Segmenter, image_pixels: np.ndarray, masks: np.ndarray, objectness: object, message: str
):
    encoded = tiny_segmenter.encode(image_pixels)
    with pytest.raises(ImageError, match=message):
        encoded.with_masks(masks, objectness)


class TestCrops:
    def test_a_mask_of_everything_is_embedded_like_the_square_image(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ):
        encoder = tiny_segmenter.network.encoder
        monkeypatch.setattr(type(encoder), "crop_side", 64)
        monkeypatch.setattr("ovrcoat.segmentation.mask_crops.MARGIN", 0.0)
        square = image_pixels[:, 8:48]
        everything = np.ones((1, 40, 40), bool)
        pooled = tiny_segmenter.encode(square).with_masks(everything)
        crops = tiny_segmenter.with_settings(classify_by="crops").encode(square).with_masks(everything)
        torch.testing.assert_close(crops.encoding.clip.embeddings, pooled.encoding.clip.embeddings)

    @pytest.mark.parametrize(("classify_by", "depends"), [("crops", True), ("masked-crops", False)])
    def test_the_background_is_kept_or_removed(
        self,
        tiny_segmenter: Segmenter,
        image_pixels: np.ndarray,
        masks: np.ndarray,
        classify_by: str,
        depends: bool,
    ):
        segmenter = tiny_segmenter.with_settings(classify_by=classify_by)
        changed = np.where(masks[0, ..., None], image_pixels, 255 - image_pixels)
        one, other = (
            segmenter.encode(pixels).with_masks(masks[:1]).encoding.clip.embeddings
            for pixels in (image_pixels, changed)
        )
        assert torch.equal(one, other) != depends

    def test_masks_of_the_network_are_named_by_crops(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ):
        crops = tiny_segmenter.with_settings(classify_by="crops")
        encoded, pooled = crops.encode(image_pixels), tiny_segmenter.encode(image_pixels)
        assert torch.equal(encoded.encoding.proposals.mask_logits, pooled.encoding.proposals.mask_logits)
        assert not torch.allclose(encoded.encoding.clip.embeddings, pooled.encoding.clip.embeddings)
        assert len(encoded.segment("cat; dog", **OPTIONS).segments) > 0
        with pytest.raises(ConfigError, match="classification by pooling, but this segmenter uses crops"):
            crops.segment(pooled, "cat")

    def test_empty_masks_are_not_valid(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray):
        from ovrcoat.segmentation.mask_crops import embed_crops

        masks = np.zeros((3, 40, 56), bool)
        masks[1, 39, 55] = True  # one pixel in the corner
        with torch.inference_mode():
            found = embed_crops(
                tiny_segmenter.network.encoder, image_pixels, masks, classify_by="masked-crops"
            )
        assert found.valid_mask.tolist() == [[False, True, False]]
        assert not found.embeddings[0, [0, 2]].any()
        assert torch.isfinite(found.embeddings).all()
