import json
from dataclasses import replace

import numpy as np
import pytest

from ovrcoat.errors import ConfigError
from ovrcoat.postprocessing.explained_masks import CategoryChoice, ExplainedMask, Region
from ovrcoat.postprocessing.mask_status import MaskOutcome, MaskStatus
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.mask_reasons import ExplanationSettings, reason, reason_at, shown_at
from ovrcoat.segmentation.segmenter import Segmenter

SETTINGS = ExplanationSettings(trust=0.5, object_mask_threshold=0.8, overlap_threshold=0.5, duplicate_iou=0.7)
WEIGHTED = replace(SETTINGS, duplicate_iou=0.2, weight_by_stability=True)
CAT = CategoryChoice("cat", 0.9, is_background=False)
SEGMENT = Region("segment", category="sofa", segment_id=4)


def make_mask(status: MaskStatus, **changes: object) -> ExplainedMask:
    mask = ExplainedMask(
        query=7,
        status=status,
        category_id=1,
        category="cat",
        score=0.3,
        void=0.6,
        segment_id=3 if status is MaskStatus.SEGMENT else None,
        in_vocab=CAT,
        out_vocab=CAT,
        ensemble=CAT,
        objectness_before=0.2,
        objectness=0.4,
        clip_confidence=0.5,
        rescued=False,
        area=10,
        bbox=(0, 0, 5, 2),
        argmax_ratio=None,
        merged_into=None,
        original=None,
        covered_by=((SEGMENT, 1.0),),
    )
    return replace(mask, **changes)


def make_duplicate(
    status: MaskStatus, *, score: float = 0.303, segment_id: int | None = None
) -> ExplainedMask:
    """A mask whose better copy has a status of its own."""
    original = MaskOutcome(2, status, 2, "dog", score, 0.1, segment_id=segment_id)
    return make_mask(MaskStatus.DUPLICATE, duplicate_of=2, original=original)


@pytest.fixture
def explanation(tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> Explanation:
    return tiny_segmenter.explain(image_pixels, "cat; sky#stuff", background="tree", overlap_threshold=0.3)


def test_reasons_name_the_stability_if_it_counts():
    duplicate = make_duplicate(MaskStatus.SEGMENT, segment_id=1)
    assert reason(duplicate, WEIGHTED) == (
        "rejected as a duplicate of query 2, whose mask overlaps it with an IoU of at least 0.2 and has a "
        "higher product of score and stability; query 2 is segment 1 (dog)"
    )


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (make_mask(MaskStatus.SEGMENT), "is segment 3 (cat)"),
        (
            make_mask(MaskStatus.SEGMENT, rescued=True),
            "is segment 3 (cat); rescued: COAT raised its objectness from 0.20 to 0.40",
        ),
        (make_mask(MaskStatus.SEGMENT, merged_into=3), "is part of segment 3 (cat)"),
        (
            make_mask(MaskStatus.VOID),
            "rejected as void: the probability of void, 0.60, is higher than that of cat, 0.30; "
            "COAT raised its objectness from 0.20 to 0.40",
        ),
        (
            make_mask(MaskStatus.VOID, objectness=0.2, ensemble=replace(CAT, is_background=True)),
            "rejected as void: the probability of void, 0.60, is higher than that of the background class "
            "cat, 0.30",
        ),
        (
            make_mask(MaskStatus.BELOW_THRESHOLD),
            "rejected for its score: that of cat, 0.30, does not exceed the object mask threshold, 0.8",
        ),
        (
            make_mask(MaskStatus.VOID, void=0.4249, score=0.4248, objectness=0.2),
            "rejected as void: the probability of void, 0.4249, is higher than that of cat, 0.4248",
        ),
        (
            make_duplicate(MaskStatus.SEGMENT, segment_id=1),
            "rejected as a duplicate of query 2, whose mask overlaps it with an IoU of at least 0.7 "
            "and has a higher score, 0.303 "
            "against 0.300; query 2 is segment 1 (dog)",
        ),
        (
            make_duplicate(MaskStatus.OVERLAP, score=0.5),
            "rejected as a duplicate of query 2, whose mask overlaps it with an IoU of at least 0.7 "
            "and has a higher score, 0.50 "
            "against 0.30; query 2 was rejected in turn, for overlaps",
        ),
        (
            make_duplicate(MaskStatus.BACKGROUND, score=0.5),
            "rejected as a duplicate of query 2, whose mask overlaps it with an IoU of at least 0.7 "
            "and has a higher score, 0.50 "
            "against 0.30; query 2 belongs to the background class dog",
        ),
        (
            make_mask(MaskStatus.BACKGROUND),
            "void, because its best category, cat (0.30), is a background class",
        ),
        (
            make_mask(MaskStatus.EMPTY),
            "rejected because it is empty: no pixel has a mask probability of 0.5 or more",
        ),
        (
            make_mask(
                MaskStatus.OVERLAP,
                argmax_ratio=0.25,
                covered_by=(
                    (SEGMENT, 0.5),
                    (Region("background", category="tree"), 0.2),
                    (Region("rejected", category="cat", query=7), 0.2),
                    (Region("rejected", category="dog", query=8), 0.1),
                ),
            ),
            "rejected for overlaps: it won 25 % of its pixels, less than the overlap threshold of 50 %; it "
            "lost 50 % to segment 4 (sofa), 20 % to the background class tree, 10 % to query 8 (dog), also "
            "rejected",
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, ExplainedMask) else "",
)
def test_a_reason_in_plain_words(mask: ExplainedMask, text: str):
    assert reason(mask, SETTINGS) == text


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (SEGMENT, "is segment 3 (cat), but segment 4 (sofa) has a larger product"),
        (Region("segment", category="cat", segment_id=3), "is shown here: it is segment 3 (cat)"),
        (Region("speck", category="cat", segment_id=3), "this part was removed as a speck"),
        (Region("background", category="tree"), "the background class tree has a larger product"),
        (Region("rejected", category="dog", query=8), "query 8 (dog), which was rejected afterwards, has"),
        (Region("void"), "a mask that does not include this pixel has a larger product"),
    ],
    ids=lambda value: value.kind if isinstance(value, Region) else "",
)
def test_why_a_segment_is_not_shown_at_a_pixel(region: Region, text: str):
    assert text in reason_at(make_mask(MaskStatus.SEGMENT), region, SETTINGS)
    rejected = make_mask(MaskStatus.EMPTY)
    assert reason_at(rejected, region, SETTINGS) == reason(rejected, SETTINGS)


def test_void_pixels_have_a_reason():
    assert "background class tree won" in shown_at(Region("background", category="tree"), has_masks=True)
    assert "query 8 (dog) won" in shown_at(Region("rejected", category="dog", query=8), has_masks=True)
    assert "part of segment 3" in shown_at(Region("speck", category="cat", segment_id=3), has_masks=True)
    assert "no mask" in shown_at(Region("void"), has_masks=False)
    assert "rejected" in shown_at(Region("void"), has_masks=True)


class TestAt:
    def test_it_lists_the_masks_that_include_the_pixel(self, explanation: Explanation) -> None:
        height, width = explanation.sizes.output
        for x, y in ((0, 0), (width - 1, height - 1), (width // 2, 3)):
            here = explanation.at(x, y)
            assert (here.x, here.y) == (x, y)
            ranks = [one.mask.score * one.probability for one in here.masks]
            assert ranks == sorted(ranks, reverse=True)
            assert all(one.probability >= 0.5 for one in here.masks)
            id = int(explanation.result.id_map[y, x])
            assert (here.region.segment_id if here.region.kind == "segment" else 0) == id
            shown = [one for one in here.masks if one.reason.startswith("is shown here")]
            assert len(shown) == (1 if id and explanation.result.segments[id - 1].is_thing else len(shown))
            assert bool(shown) == bool(id)
            document = here.to_dict()
            assert json.loads(json.dumps(document)) == document
            assert document["region"]["kind"] == here.region.kind

    @pytest.mark.parametrize("point", [(-1, 0), (56, 0), (0, 40), (True, 0)])
    def test_a_point_outside_is_refused(self, explanation: Explanation, point: tuple[int, int]) -> None:
        with pytest.raises(ConfigError, match=r"not in the image; expected whole numbers: x from 0 to 55"):
            explanation.at(*point)


def test_the_document_is_json_and_complete(explanation: Explanation):
    document = explanation.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert (document["width"], document["height"]) == (56, 40)
    assert len(document["masks"]) == len(explanation.masks)
    assert sum(document["counts"].values()) == len(explanation.masks)
    assert document["settings"] == {
        "trust": explanation.settings.trust,
        "object_mask_threshold": explanation.settings.object_mask_threshold,
        "overlap_threshold": 0.3,
        "duplicate_iou": explanation.settings.duplicate_iou,
        "weight_by_stability": explanation.settings.weight_by_stability,
    }
    assert [segment["rescued"] for segment in document["segments"]] == [
        segment.rescued for segment in explanation.result.segments
    ]
    for mask, entry in zip(explanation.masks, document["masks"], strict=True):
        assert entry["reason"] == explanation.reason(mask)
        assert entry["in_vocab"]["category"] in ("cat", "sky", "tree")
        assert 0 <= entry["objectness_before"] <= entry["objectness"] <= 1


def test_trust_zero_rescues_nothing(tiny_segmenter: Segmenter, image_pixels: np.ndarray):
    explanation = tiny_segmenter.explain(image_pixels, "cat; dog", trust=0)
    assert not any(mask.rescued for mask in explanation.masks)


class TestDraw:
    def test_rejected_masks_are_outlined(self, tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> None:
        explanation = tiny_segmenter.explain(image_pixels, "cat; sky", object_mask_threshold=0.99)
        assert explanation.result.segments == ()
        nothing, some = explanation.draw(limit=0), explanation.draw(limit=3)
        height, width = explanation.sizes.output
        assert some.width >= width
        assert some.height > height
        without, drawn = np.array(nothing)[:height, :width], np.array(some)[:height, :width]
        assert not np.array_equal(without, drawn)

    def test_a_rescued_segment_is_outlined_in_white(
        self, tiny_segmenter: Segmenter, image_pixels: np.ndarray
    ) -> None:
        explanation = tiny_segmenter.explain(image_pixels, "cat; sky#stuff", background="tree", trust=1)
        segment = explanation.result.segments[0]
        saved = replace(segment, objectness_before=0.1, objectness=0.9, top=(("cat", 0.9),))
        assert saved.rescued
        segments = (saved, *explanation.result.segments[1:])
        rescued = replace(explanation, result=replace(explanation.result, segments=segments))
        drawn = np.array(rescued.draw(limit=0))[:40, :56]
        is_white = (drawn == 255).all(axis=2)
        assert is_white[explanation.result.id_map == segment.id].any()

    @pytest.mark.parametrize("options", [{"limit": -1}, {"limit": True}, {"font_size": 1}])
    def test_a_wrong_option_is_an_error(self, explanation: Explanation, options: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match="is not valid"):
            explanation.draw(**options)

    def test_a_notebook_shows_it(self, explanation: Explanation) -> None:
        html = explanation._repr_html_()
        assert "Explanation of &lt;PanopticResult" in html
        assert "data:image/png;base64," in html
