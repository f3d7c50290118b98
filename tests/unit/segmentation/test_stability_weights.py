import numpy as np
import pytest
import torch
from torch import Tensor

from ovrcoat.postprocessing.panoptic import PanopticOutput, panoptic
from ovrcoat.postprocessing.stability import stability
from ovrcoat.segmentation import postprocess
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.structures import ScoredMasks

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("used", [False, True])
def test_the_setting_gives_the_masks_their_stability_as_weights(
    tiny_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, used: bool
):
    weights: list[Tensor | None] = []

    def spy(scored: ScoredMasks, *arguments: object, **options: object) -> PanopticOutput:
        weights.append(scored.weights)
        if scored.weights is not None:
            assert torch.equal(scored.weights, stability(scored.mask_logits))
        return panoptic(scored, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(postprocess, "panoptic", spy)
    segmenter = tiny_segmenter.with_settings(weight_by_stability=used)
    segmenter.segment(IMAGE, "cat; sky#stuff")
    explanation = segmenter.explain(IMAGE, "cat; sky#stuff")
    assert [found is not None for found in weights] == [used, used]
    assert explanation.settings.weight_by_stability is used
