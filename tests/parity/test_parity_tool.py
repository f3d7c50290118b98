"""The parity tool must fail when a number is wrong, and accept every form of recording."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from ovrcoat.config import TextTransferConfig
from ovrcoat.structures import ImageBatch
from parity import check_family, main
from parity_compare import (
    Line,
    compare,
    compare_halves,
    compare_number,
    compare_numbers,
    compare_probs,
    compare_relative,
)
from parity_network import load_subject, pad_together
from parity_training import check_gradients, check_training, compute, training_categories
from tiny_clip import make_network, released_state

CATEGORIES = [{"id": 0, "names": ["cat"], "isthing": True}, {"id": 1, "names": ["sky"], "isthing": False}]


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
    assert compare("a", recorded, recorded + 4e-7, mean_tolerance=5e-6).status == "ok"


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
    """Write a recording with a tiny network; some of its arrays are wrong or unknown."""
    place = tmp_path / "convnext"
    place.mkdir()
    (tmp_path / "inputs").mkdir()
    Image.new("RGB", (90, 50), (200, 30, 90)).save(tmp_path / "inputs" / "img0.png")
    seen = [entry | {"seen_in_training": entry["id"] == 0} for entry in CATEGORIES]
    vocabularies = {"templates": ["a {}."], "train_categories": CATEGORIES[:1], "test_categories": seen}
    (tmp_path / "vocabulary.json").write_text(json.dumps(vocabularies))
    save_file(released_state(make_network("convnext").state_dict()), place / "weights.safetensors")
    (place / "config.json").write_text(json.dumps(NUMBERS))
    (place / "results.json").write_text(json.dumps({"results": {}}))
    save_file({"img0/item0/gamma0.5/not_an_array": torch.zeros(1)}, place / "results.safetensors")
    trained = {"stage1_lr_wd": [1e-4, 0.0], "stage2_lr_wd": [1e-4, 0.05]}  # the second is wrong
    (place / "training.json").write_text(json.dumps({"parameters": {"void_embedding.weight": trained}}))
    save_file({"pair/layer0/pred_logits": torch.zeros(1)}, place / "training.safetensors")
    with torch.inference_mode():
        subject = load_subject(tmp_path, "convnext")
        arrays = {
            "img0/backbone/res5": subject.run("img0").features.clip_features.contiguous(),
            "img0/decoder/pred_masks_0": subject.run("img0").proposals[0].mask_logits.contiguous() + 1,
            "img0/decoder/not_an_array": torch.zeros(1),
            "img7/backbone/res5": torch.zeros(1),
            "batch/backbone/res5": torch.zeros(1),
            "text/void_normalised": torch.zeros(1, 16),
        }
    save_file(arrays, place / "tensors.safetensors")
    return tmp_path


FAMILY_NUMBERS = {
    "convnext": {"backbone_kind": "convnext"},
    "resnet": {
        "backbone_kind": "resnet",
        "resnet": {"layers": [1, 1, 1, 1], "width": 4, "heads": 2, "attnpool_grid": 3},
    },
}
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
    "size_divisibility": 32,
    "loss": {"num_points": 9, "oov_ce_weight": 0.1},
    "optimizer": {"base_lr": 1e-4, "weight_decay": 0.05},
    "runs": {"img0": [0], "batch": [0, 0]},
    "images": [{"file": "inputs/img0.png", "output_hw": [25, 45]}],
}


def test_numbers_and_relative_tolerances():
    assert compare_number("a", 2.0, 2.001, rtol=1e-3, atol=0).status == "ok"
    assert compare_number("a", 2.0, 2.003, rtol=1e-3, atol=0).status == "FAILED"
    assert compare_number("a", 2.0, float("nan"), rtol=1e-3, atol=0).status == "FAILED"
    recorded = torch.tensor([0.0, 10.0])
    assert compare_relative("a", recorded, recorded + 1e-3, tolerance=2e-4, note="wide").note == "wide"
    assert compare_relative("a", recorded, recorded + 1e-3, tolerance=2e-4).status == "ok"
    assert compare_relative("a", recorded, recorded + 3e-3, tolerance=2e-4).status == "FAILED"
    assert compare_relative("a", recorded, recorded * torch.nan, tolerance=2e-4).status == "FAILED"


def test_images_of_unequal_size_are_padded_to_the_largest_sides():
    wide = np.full((40, 90, 3), 7, np.uint8)
    tall = np.full((100, 50, 3), 9, np.uint8)
    batch = pad_together([wide, tall], multiple=32)
    assert batch.padded_size == (128, 96)
    assert batch.valid_sizes == ((40, 90), (100, 50))
    network = make_network("convnext")
    normalized = network.encoder.normalize(batch)
    for index, pixels in enumerate((wide, tall)):
        height, width = pixels.shape[:2]
        mean = torch.tensor(network.encoder.mean).view(3, 1, 1)
        deviation = torch.tensor(network.encoder.deviation).view(3, 1, 1)
        alone = (torch.from_numpy(pixels).permute(2, 0, 1).float() - mean) / deviation
        expected = F.pad(alone, (0, 96 - width, 0, 128 - height))  # zeros, after normalization
        torch.testing.assert_close(normalized[index], expected)


SIZES = ((40, 90), (100, 50))  # padded alone: 64 × 96 and 128 × 64; together: 128 × 96


def write_training(folder, *, family, case):
    """Record one training forward pass of a batch of unequal images, without the tool's own padding."""
    place = folder / family
    place.mkdir(exist_ok=True)
    save_file(released_state(make_network(family).state_dict()), place / "weights.safetensors")
    (place / "config.json").write_text(json.dumps(NUMBERS | FAMILY_NUMBERS[family]))
    entries, arrays, padded = [], {}, []
    subject = load_subject(folder, family)
    network = subject.network
    mean = torch.tensor(network.encoder.mean).view(3, 1, 1)
    for index, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "inputs" / f"train{index}.png")
        entries.append({"file": f"inputs/train{index}.png"})
        filled = mean.repeat(1, 128, 96)  # normalization turns the mean into zero
        filled[:, :height, :width] = torch.from_numpy(pixels).permute(2, 0, 1).float()
        padded.append(filled)
        masks = torch.zeros(1, height, width, dtype=torch.uint8)
        masks[:, : height // 2] = 1
        arrays |= {f"inputs/train{index}_masks": masks, f"inputs/train{index}_labels": torch.tensor([0])}
    numbers = NUMBERS | FAMILY_NUMBERS[family] | {"train_images": entries}
    (place / "config.json").write_text(json.dumps(numbers))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train(case == "pair")
    with torch.no_grad():
        images = ImageBatch(torch.stack(padded), valid_sizes=((128, 96),) * 2)
        proposals = network.mask_decoder(network.pixel_decoder(network.encoder(images)), every_layer=True)
        categories = training_categories(subject)
        logits = [network.text_classifier(proposal.embeddings, categories) for proposal in proposals]
    points = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    for layer, proposal in enumerate(proposals):
        arrays |= {
            f"{case}/layer{layer}/pred_masks": proposal.mask_logits.contiguous(),
            f"{case}/layer{layer}/pred_logits": torch.cat(
                (logits[layer][0], logits[layer][1][..., None]), -1
            ),
            f"{case}/layer{layer}/matcher_points_item0": points.clone(),
            f"{case}/layer{layer}/matcher_points_item1": points.clone(),
            f"{case}/layer{layer}/loss_points_final": points.repeat(2, 1, 1),
        }
    arrays[f"{case}/layer0/cost_mask_item0"] = torch.zeros(5, 1)  # wrong
    save_file(arrays, place / "training.safetensors")
    nothing = {"assignments": {}, "losses_unweighted": {}, "grad_norms": {}}
    (place / "training.json").write_text(json.dumps({"parameters": {}, case: nothing}))
    return load_subject(folder, family), arrays


@pytest.mark.parametrize(
    ("family", "case"), [("convnext", "pair"), ("resnet", "pair_bn_eval"), ("resnet", "pair")]
)
def test_a_training_batch_of_unequal_images_is_compared(recording, family, case):
    subject, _ = write_training(recording, family=family, case=case)
    lines = list(check_training(subject))
    compared = {line.name: line.status for line in lines if line.status != "an input"}
    title = f"{family}/training/{case}"
    expected = {
        f"{title}/layer{layer}/pred_{kind}": "ok" for layer in range(4) for kind in ("masks", "logits")
    }
    assert compared == expected | {f"{title}/layer0/cost_mask_item0": "FAILED"}
    notes = {line.note for line in lines if line.status == "ok"}
    assert notes == {"live BatchNorm: tolerance 2e-04" if (family, case) == ("resnet", "pair") else ""}


@pytest.mark.parametrize(
    ("case", "note"), [("pair_bn_eval", ""), ("pair", "live BatchNorm: tolerance 5e-02")]
)
def test_gradients_through_live_batch_norm_have_their_own_tolerance(recording, case, note):
    subject, arrays = write_training(recording, family="resnet", case=case)
    computed = compute(subject, case, arrays)
    total = torch.stack([term.value() for term in computed.loss.terms.values()]).sum()
    total.backward(retain_graph=True)
    norm = float(computed.network.mask_decoder.mask_head.layers[0].weight.grad.norm())
    key = "sem_seg_head.predictor.mask_embed.layers.0.weight"
    for factor, passes in ((1.0, True), (1.03, case == "pair"), (1.07, False)):
        (line,) = check_gradients("a", computed, total, {key: norm * factor})
        assert (line.status == "ok", line.note) == (passes, note)


def test_every_array_gets_its_verdict(recording):
    with torch.inference_mode():
        lines = {line.name: line.status for line in check_family(load_subject(recording, "convnext"))}
    assert lines == {
        "convnext/vocabulary/seen_in_training": "ok",
        "convnext/img0/backbone/res5": "ok",
        "convnext/img0/decoder/pred_masks_0": "FAILED",
        "convnext/img0/decoder/not_an_array": "unknown array",
        "convnext/img7/backbone/res5": "unknown array",
        "convnext/batch/backbone/res5": "skipped by design",
        "convnext/text/void_normalised": "FAILED",
        "convnext/results/img0/item0/gamma0.5/not_an_array": "unknown array",
        "convnext/training/parameters/stage1/void_embedding.weight": "ok",
        "convnext/training/parameters/stage2/void_embedding.weight": "FAILED",
        "convnext/training/pair/layer0/pred_logits": "unknown array",
    }


@pytest.fixture
def maft_plus(recording):
    """Write a recording of MAFT+, with a batch of images of different sizes, from its own network."""
    place = recording / "maftplus"
    (place / "inputs").mkdir(parents=True)
    shutil.rmtree(recording / "convnext")
    network = make_network("convnext", transfer=TextTransferConfig())
    torch.nn.init.normal_(network.text_transfer.linear.weight, generator=torch.Generator().manual_seed(0))
    save_file(released_state(network.state_dict()), place / "weights.safetensors")
    images = []
    for index, (height, width) in enumerate(((50, 90), (100, 60))):
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(place / "inputs" / f"img{index}.png")
        images.append({"file": f"inputs/img{index}.png", "output_hw": [height // 2, width // 2]})
    numbers = NUMBERS | {
        "transfer": {"heads": 8},
        "runs": {"img0": [0], "img1": [1], "batch": [0, 1]},
        "images": images,
    }
    (place / "config.json").write_text(json.dumps(numbers))
    vocabularies = {"templates": ["a {}."], "train_categories": CATEGORIES[:1], "test_categories": CATEGORIES}
    (place / "vocabulary.json").write_text(json.dumps(vocabularies))
    return recording


def maft_plus_arrays(folder):
    """Compute some arrays without the tables of the tool."""
    subject = load_subject(folder, "maftplus")
    network, arrays = subject.network, {}
    void = F.normalize(network.text_classifier.void_embedding[None], dim=-1)
    texts = torch.cat((subject.categories.in_vocab, void))
    for name in ("img0", "img1", "batch"):
        encoding = network(subject.run(name).images)
        adapted = network.text_transfer(texts, encoding.transfer_features)
        cosine = F.normalize(encoding.clip.embeddings, dim=-1) @ adapted.mT
        arrays |= {
            f"{name}/transfer/image_features": encoding.transfer_features.contiguous(),
            f"{name}/transfer/classifier_after": adapted,
            f"{name}/clip/out_vocab_logits": network.encoder.logit_scale.exp() * cosine,
            f"{name}/clip/out_vocab_probs": (network.encoder.logit_scale.exp() * cosine)[..., :2].softmax(-1),
        }
    changed = network.text_transfer.norm.bias + texts
    return arrays | {"img0/case_zero_linear/classifier_after": changed[None]}


@torch.no_grad()
def test_a_recording_of_maft_plus_is_compared_with_its_batches(maft_plus):
    arrays = maft_plus_arrays(maft_plus)
    swapped = arrays["batch/transfer/classifier_after"].flip(
        0
    )  # each image with the other image's embeddings
    for recorded, failed in (
        (arrays, []),
        (arrays | {"batch/transfer/classifier_after": swapped}, ["batch"]),
    ):
        save_file(
            {name: value.contiguous() for name, value in recorded.items()},
            maft_plus / "maftplus" / "tensors.safetensors",
        )
        lines = list(check_family(load_subject(maft_plus, "maftplus")))
        assert len(lines) == len(arrays)
        assert [line.name.split("/")[1] for line in lines if line.status != "ok"] == failed


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
    assert main([str(recording)]) == 1
    assert "contains no convnext/config.json" in capsys.readouterr().err
