"""The parity tool itself: it must fail when something is wrong."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from parity import check_family, main
from parity_compare import Line, compare, compare_halves, compare_numbers, compare_probs
from parity_network import load_subject
from tiny_clip import make_network, released_state

WORDS = [{"id": 0, "names": ["cat"], "isthing": True}, {"id": 1, "names": ["sky"], "isthing": False}]


def test_small_errors_pass_and_larger_ones_fail():
    recorded = torch.linspace(-10, 10, 1000)
    assert compare("a", recorded, recorded + 1e-7).status == "ok"
    assert compare("a", recorded, recorded + 1e-3).status == "FAILED"
    one_wrong = recorded.clone()
    one_wrong[3] += 1e-3
    assert compare("a", recorded, one_wrong).status == "FAILED"


def test_an_error_that_is_small_but_everywhere_fails():
    recorded = torch.cat((torch.full((999,), 0.01), torch.tensor([100.0])))
    line = compare("a", recorded, recorded + 1e-5)
    assert line.status == "FAILED"
    assert "mean error" in line.note
    assert compare("a", recorded, recorded + 4e-7, of_words=True).status == "ok"


@pytest.mark.parametrize("check", [compare, compare_probs, compare_halves])
def test_nan_and_other_shapes_fail(check):
    recorded = torch.ones(2, 3)
    assert check("a", recorded, torch.full((2, 3), torch.nan)).status == "FAILED"
    assert check("a", recorded, torch.ones(3, 2)).status == "FAILED"


def test_masks_must_be_equal():
    recorded = torch.tensor([True, False])
    assert compare("a", recorded, recorded).status == "ok"
    assert compare("a", recorded, ~recorded).status == "FAILED"


def test_logarithms_near_their_floor_are_compared_as_probabilities():
    recorded = torch.tensor([-18.42, -0.1])
    assert (
        compare_probs("a", recorded, torch.tensor([3e-8, -0.1]).where(recorded < -1, recorded.exp())).status
        == "ok"
    )


def test_lists_and_halves():
    assert compare_numbers("a", [1.0, 2.0], [1.0, 2.0]).status == "ok"
    assert compare_numbers("a", [], []).status == "ok"
    assert compare_halves("a", torch.tensor([1.0]).half(), torch.tensor([1.0004])).status == "ok"
    assert compare_halves("a", torch.tensor([1.0]).half(), torch.tensor([1.002])).status == "FAILED"


def test_a_line_shows_its_numbers():
    assert "abs 1.00e+00  rel 5.00e-01  allowed 0.00e+00" in str(Line("a", "FAILED", 1, 0.5, 0))
    assert str(Line.skipped("a", "skipped by design")).endswith("skipped by design")


@pytest.fixture
def recording(tmp_path):
    """A folder of the fixture format, made with a tiny network of our own."""
    place = tmp_path / "convnext"
    place.mkdir()
    (tmp_path / "inputs").mkdir()
    Image.new("RGB", (90, 50), (200, 30, 90)).save(tmp_path / "inputs" / "img0.png")
    words = {"templates": ["a {}."], "train_categories": WORDS[:1]}
    seen = [entry | {"seen_in_training": entry["id"] == 0} for entry in WORDS]
    (tmp_path / "vocabulary.json").write_text(json.dumps(words | {"test_categories": seen}))
    save_file(released_state(make_network("convnext").state_dict()), place / "weights.safetensors")
    (place / "config.json").write_text(json.dumps(NUMBERS))
    (place / "results.json").write_text(json.dumps({"results": {}}))
    save_file({"img0/item0/gamma0.5/unheard_of": torch.zeros(1)}, place / "results.safetensors")
    trained = {"stage1_lr_wd": [1e-4, 0.0], "stage2_lr_wd": [1e-4, 0.05]}  # the second is wrong
    (place / "training.json").write_text(json.dumps({"parameters": {"void_embedding.weight": trained}}))
    save_file({"pair/layer0/pred_logits": torch.zeros(1)}, place / "training.safetensors")
    with torch.inference_mode():
        subject = load_subject(tmp_path, "convnext")
        arrays = {
            "img0/backbone/res5": subject.run("img0").features.dense.contiguous(),
            "img0/decoder/pred_masks_0": subject.run("img0").proposals[0].mask_logits.contiguous() + 1,
            "img0/decoder/unheard_of": torch.zeros(1),
            "img7/backbone/res5": torch.zeros(1),
            "batch/backbone/res5": torch.zeros(1),
            "text/void_normalised": torch.zeros(1, 16),
        }
    save_file(arrays, place / "tensors.safetensors")
    return tmp_path


NUMBERS = {
    "backbone_kind": "convnext",
    "embed_dim": 16,
    "text": {
        "width": 8,
        "heads": 1,
        "layers": 2,
        "context_length": 77,
        "vocab_size": 49408,
        "activation": "gelu",
    },
    "convnext": {
        "depths": [1, 1, 2, 1],
        "dims": [8, 8, 16, 16],
        "head_hidden": 12,
        "layer_norm_eps": 1e-6,
        "drop_path_in_fixture": 0.0,
    },
    "conv_dim": 32,
    "mask_dim": 32,
    "hidden_dim": 32,
    "num_queries": 5,
    "transformer_decoder_layers": 3,
    "nheads": 8,
    "dim_feedforward": 16,
    "pixel_decoder": {"encoder_layers": 1, "nheads": 8, "points": 4, "dim_feedforward": 16},
    "geometric_ensemble_alpha": 0.4,
    "geometric_ensemble_beta": 0.8,
    "ensemble_on_valid_mask": False,
    "clip_trust_weight_released": 0.5,
    "overlap_threshold_released": 0.7,
    "object_mask_threshold_released": 0.0,
    "topk_per_image": 100,
    "optimizer": {"base_lr": 1e-4, "weight_decay": 0.05},
    "runs": {"img0": [0], "batch": [0, 0]},
    "images": [{"file": "inputs/img0.png", "output_hw": [25, 45]}],
}


def test_every_array_gets_its_verdict(recording):
    with torch.inference_mode():
        lines = {line.name: line.status for line in check_family(load_subject(recording, "convnext"))}
    assert lines == {
        "convnext/vocabulary/seen_in_training": "ok",
        "convnext/img0/backbone/res5": "ok",
        "convnext/img0/decoder/pred_masks_0": "FAILED",
        "convnext/img0/decoder/unheard_of": "unknown array",
        "convnext/img7/backbone/res5": "unknown array",
        "convnext/batch/backbone/res5": "skipped by design",
        "convnext/text/void_normalised": "FAILED",
        "convnext/results/img0/item0/gamma0.5/unheard_of": "unknown array",
        "convnext/training/parameters/stage1/void_embedding.weight": "ok",
        "convnext/training/parameters/stage2/void_embedding.weight": "FAILED",
        "convnext/training/pair/layer0/pred_logits": "unknown array",
    }


def test_the_exit_status_says_whether_all_is_well(recording, capsys):
    assert main([str(recording)]) == 1
    assert "3 FAILED" in capsys.readouterr().out
    save_file(
        {"img0/image_padded": torch.zeros(1, 3, 64, 96)}, recording / "convnext" / "tensors.safetensors"
    )
    assert main([str(recording)]) == 1
    (recording / "convnext" / "tensors.safetensors").unlink()
    (recording / "convnext" / "results.safetensors").unlink()
    (recording / "convnext" / "training.safetensors").unlink()
    assert main([str(recording)]) == 1, "nothing was compared"
    shutil.rmtree(recording / "convnext")
    with pytest.raises(FileNotFoundError, match="holds no convnext"):
        main([str(recording)])
