"""Published weights: renaming back and forth changes nothing, and everything is reported."""

import contextlib
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ovrcoat.checkpoints import foreign, native
from ovrcoat.config import InferenceConfig, ModelConfig, TextTransferConfig
from ovrcoat.errors import CheckpointError, ConfigError, OutputError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network
from tiny_clip import FAMILIES, OPENCLIP, make_config, make_network, released_state

STATES = {}


def published(family: str) -> dict[str, Tensor]:
    """A released file's state dict, as FC-CLIP has it."""
    if family not in STATES:
        STATES[family] = released_state(make_network(family).state_dict())
    return STATES[family] | {"criterion.empty_weight": torch.ones(134)}


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"model": state, "iteration": 3}, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_file_is_converted(tmp_path, family):
    source = write(tmp_path / "published.pth", published(family))
    report = foreign.convert(source, tmp_path / "ours.safetensors")
    assert report.source == "published.pth"
    assert report.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert report.dropped == {"criterion.empty_weight": "class weights of the training loss"}
    assert report.filled == ()

    loaded = native.load(tmp_path / "ours.safetensors")
    expected = make_network(family).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.network.state_dict().items())
    assert loaded.config.model_copy(update={"inference": make_config(family).inference}) == make_config(
        family
    )
    assert loaded.training_vocabulary.name == "coco"
    assert loaded.provenance["source_sha256"] == report.sha256
    assert loaded.provenance["source"] == "published.pth"


@pytest.mark.parametrize("family", FAMILIES)
def test_released_settings_are_kept(family):
    settings = foreign.import_state(published(family), source="file").config.inference
    assert settings.overlap_threshold == 0.8  # FC-CLIP's
    assert settings.trust == 0.5
    assert settings.ensemble_on_valid_mask == (family == "resnet")


def test_ovrcoats_second_encoder_is_dropped_and_its_threshold_kept():
    state = published("convnext")
    frozen = {f"frozen_{key}": value for key, value in state.items() if key.startswith("backbone.")}
    model = foreign.import_state(state | frozen, source="file")
    assert set(model.dropped) == {*frozen, "criterion.empty_weight"}
    assert "second copy" in model.dropped[next(iter(frozen))]
    assert model.config.inference.overlap_threshold == 0.7


TRANSFER = TextTransferConfig()


def maft_plus(*, classes: int | None = 134) -> dict[str, Tensor]:
    """A released MAFT+ file's state dict, with its second CLIP."""
    if "maftplus" not in STATES:
        STATES["maftplus"] = released_state(make_network("convnext", transfer=TRANSFER).state_dict())
    state = dict(STATES["maftplus"])
    state |= {
        key.replace("backbone.", "backbone_t.", 1): value + 1
        for key, value in state.items()
        if key.startswith("backbone.")
    }
    return state if classes is None else state | {"criterion.empty_weight": torch.ones(classes)}


@pytest.mark.parametrize(
    ("classes", "requested", "arrangement", "vocabulary"),
    [
        (134, None, "panoptic", "coco"),
        (172, None, "semantic", "coco-stuff"),
        (None, "panoptic", "panoptic", "coco"),
        (11, "semantic", "semantic", "coco-stuff"),
        (134, "semantic", "semantic", "coco-stuff"),
    ],
)
def test_a_maft_plus_file_is_converted(tmp_path, classes, requested, arrangement, vocabulary):
    source = write(tmp_path / "maftp.pth", maft_plus(classes=classes))
    report = foreign.convert(source, tmp_path / "ours.safetensors", arrangement=requested)
    assert report.arrangement == arrangement
    assert {key for key in report.dropped if not key.startswith("backbone_t.")} <= {"criterion.empty_weight"}
    loaded = native.load(tmp_path / "ours.safetensors")
    expected = make_network("convnext", transfer=TRANSFER).state_dict()
    assert loaded.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.network.state_dict().items())
    assert loaded.network.text_transfer.arrangement == arrangement
    assert loaded.config.text_transfer == TextTransferConfig(heads=8, arrangement=arrangement)
    assert loaded.config.inference == InferenceConfig(
        alpha=1,
        beta=1,
        trust=0,
        object_mask_threshold=0.2,
        overlap_threshold=0.7,
        semantic_at_input_size=arrangement == "semantic",
    )
    assert loaded.training_vocabulary.name == vocabulary


@pytest.mark.parametrize("classes", [None, 11])
def test_the_form_of_a_maft_plus_file_must_be_known(classes):
    message = "whether it is a panoptic or a semantic model. Convert it with --arrangement panoptic"
    with pytest.raises(CheckpointError, match=message):
        foreign.import_state(maft_plus(classes=classes), source="maftp.pth")


def test_an_arrangement_is_for_maft_plus_alone():
    with pytest.raises(
        ConfigError, match=r"an arrangement applies to MAFT\+, but file has no weights of its"
    ):
        foreign.import_state(published("convnext"), source="file", arrangement="panoptic")


def test_a_transfer_on_a_resnet_is_refused():
    transfer = {key: value for key, value in maft_plus().items() if key.startswith("cdt.")}
    with pytest.raises(CheckpointError, match=r"file has weights of no released network: .*needs a ConvNeXt"):
        foreign.import_state(published("resnet") | transfer, source="file")


def test_a_lost_weight_of_the_transfer_is_named():
    state = maft_plus()
    del state["cdt.cross_atten.MLP.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: text_transfer\.linear\.bias"):
        foreign.import_state(state, source="maftp.pth")


def test_an_explicit_configuration_takes_precedence():
    config = make_config("convnext").model_copy(update={"templates": ("a {}",)})
    assert foreign.import_state(published("convnext"), source="file", config=config).config == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s | {"sem_seg_head.new.weight": torch.zeros(1)},
            r"1 unknown weights: sem_seg_head\.new\.weight",
        ),
        (
            lambda s: s | {f"{OPENCLIP}visual.trunk.norm_pre.weight": torch.zeros(1)},
            r"1 unknown: backbone\.clip_model\.visual\.trunk\.norm_pre\.weight",
        ),
        (
            lambda s: {k: v for k, v in s.items() if k != "sem_seg_head.predictor.decoder_norm.bias"},
            r"1 missing: mask_decoder\.norm\.bias",
        ),
        (
            lambda s: s | {"sem_seg_head.predictor.decoder_norm.bias": torch.zeros(3)},
            r"sem_seg_head\.predictor\.decoder_norm\.bias is \(3,\), expected \(32,\)",
        ),
        (
            lambda s: {k: v for k, v in s.items() if "query_feat" not in k},
            r"the weight that corresponds to mask_decoder\.query_features is missing",
        ),
        (
            lambda s: s | {"sem_seg_head.predictor.query_feat.weight": torch.zeros(5)},
            r"mask_decoder\.query_features has shape \(5,\)",
        ),
        (
            lambda s: s | {f"{OPENCLIP}logit_scale": torch.tensor(torch.nan)},
            r"NaN or infinite values in 1 weights: encoder\.logit_scale",
        ),
    ],
)
def test_mismatches_are_named(change, message):
    with pytest.raises(CheckpointError, match=message):
        foreign.import_state(change(published("convnext")), source="file")


def without_text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """FC-CLIP's file is reported to carry no text tower."""
    kept = (OPENCLIP + "visual.", OPENCLIP + "logit_scale")
    return {
        key: value for key, value in state.items() if not key.startswith(OPENCLIP) or key.startswith(kept)
    }


def openclip_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's own names. OpenAI's files also contain sizes."""
    ours = {key.removeprefix(OPENCLIP): value for key, value in state.items() if key.startswith(OPENCLIP)}
    return ours | {"context_length": torch.tensor(77)}


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_weights_come_from_openclip(tmp_path, family):
    source = write(tmp_path / "published.pth", without_text(published(family)))
    other = {
        key: value + 1 if "visual" in key else value
        for key, value in openclip_state(published(family)).items()
    }
    save_file(other, tmp_path / "clip.safetensors")
    report = foreign.convert(source, tmp_path / "ours.safetensors", clip=tmp_path / "clip.safetensors")
    assert all(name.startswith("encoder.text_tower.") for name in report.filled)
    loaded = native.load(tmp_path / "ours.safetensors")
    expected = make_network(family).state_dict()  # the trunk is the published file's, not the other's
    assert all(torch.equal(value, expected[key]) for key, value in loaded.network.state_dict().items())
    assert set(report.filled) == {key for key in expected if key.startswith("encoder.text_tower.")}
    assert loaded.provenance["filled_from_openclip"] == str(len(report.filled))


def test_without_a_clip_file_matching_weights_are_downloaded(monkeypatch):
    with torch.device("meta"):
        network = build_network(ModelConfig(encoder=CLIP_ENCODERS["RN50"]))
    state = released_state(network.state_dict())
    asked = []

    def download(name, *, wanted_by):
        asked.append((name, wanted_by))
        return openclip_state(state)

    monkeypatch.setattr(foreign, "download_clip", download)
    model = foreign.import_state(without_text(state), source="file")
    assert asked == [("RN50", "file")]
    assert len(model.filled) == 149
    assert model.config.encoder == CLIP_ENCODERS["RN50"]


def test_an_unknown_clip_model_must_be_given():
    with pytest.raises(CheckpointError, match=r"file lacks CLIP weights.*\(8, 8, 16, 16\).*--clip FILE"):
        foreign.import_state(without_text(published("convnext")), source="file")


def test_a_clip_file_that_lacks_the_same_weights():
    with pytest.raises(CheckpointError, match=r"missing: encoder\.text_tower"):
        foreign.import_state(
            without_text(published("convnext")),
            source="file",
            config=make_config("convnext"),
            clip_state={"logit_scale": torch.zeros(())},
        )


def test_offline_is_an_error_with_a_remedy(monkeypatch):
    def fail(config):
        raise OSError("no route to host")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", fail)
    with pytest.raises(
        CheckpointError, match=r"RN50 \(openai\) could not be downloaded: no route.*--clip FILE"
    ):
        foreign.download_clip("RN50", wanted_by="file")
    with pytest.raises(
        CheckpointError, match=r"start\.clip lacks .* MobileCLIP-S1 \(datacompdr\).*set start\.clip_file"
    ):
        foreign.clip_encoder_state("MobileCLIP-S1")


def test_downloaded_weights_are_read(monkeypatch, tmp_path):
    save_file({"logit_scale": torch.ones(())}, tmp_path / "clip.safetensors")
    monkeypatch.setattr(
        "open_clip.pretrained.download_pretrained", lambda config: str(tmp_path / "clip.safetensors")
    )
    assert foreign.download_clip("RN50", wanted_by="file") == {"logit_scale": torch.ones(())}


def test_a_model_that_openclip_does_not_publish():
    with pytest.raises(CheckpointError, match="OpenCLIP publishes no weights of convnext_large"):
        foreign.download_clip("convnext_large", wanted_by="file")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_file_that_could_execute_code_is_rejected(tmp_path, form):
    sprung = tmp_path / "sprung"
    payload = {"model": {"weight": Trap(sprung)}}
    path = tmp_path / "trap.pth"
    if form == "torch":
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(
        CheckpointError, match=r"trap\.pth was rejected and nothing in it was executed.*from its author"
    ):
        foreign.convert(path, tmp_path / "ours.safetensors")
    assert not sprung.exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)  # it is a real trap
    assert sprung.exists()


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file(tmp_path, share):
    path = write(tmp_path / "cut.pth", {"weight": torch.zeros(1000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\.pth cannot be read.*download it again"):
        foreign.read_state(path)


def test_something_else(tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match=r"page\.pth cannot be read: it is a web page, not weights"):
        foreign.read_state(path)
    path = tmp_path / "text.pth"
    path.write_text("not weights")
    with pytest.raises(CheckpointError, match=r"text\.pth cannot be read: .*download it again"):
        foreign.read_state(path)
    path = tmp_path / "text.safetensors"
    path.write_text("not weights")
    with pytest.raises(CheckpointError, match=r"text\.safetensors cannot be read .*download it again"):
        foreign.read_state(path)


@pytest.mark.parametrize("name", ["ours.pth", "ours", "ours.pt"])
def test_the_output_needs_its_suffix(tmp_path, name):
    with pytest.raises(ConfigError, match=r"does not end in \.safetensors.*name it ours\.safetensors"):
        foreign.convert(tmp_path / "published.pth", tmp_path / name)


def test_a_file_of_another_program_is_not_replaced(tmp_path):
    target = tmp_path / "mine.safetensors"
    save_file({"weight": torch.ones(1)}, target)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="exists and is not an ovrcoat checkpoint, so it is not replaced"):
        foreign.convert(tmp_path / "published.pth", target)
    with pytest.raises(ConfigError, match="is the input"):
        foreign.convert(target, target)
    assert target.read_bytes() == before


def test_our_own_file_without_metadata_is_named(tmp_path):
    save_file(dict(make_network("convnext").state_dict()), tmp_path / "again.safetensors")
    with pytest.raises(CheckpointError, match=r"has ovrcoat's own weight names.*use the original file"):
        foreign.convert(tmp_path / "again.safetensors", tmp_path / "ours.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        foreign.read_state(tmp_path / "none.pth")


@pytest.mark.parametrize("payload", [[1, 2], {}, {"model": []}, {"model": {}}])
def test_no_state_dict(tmp_path, payload):
    torch.save(payload, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="contains no state dict"):
        foreign.read_state(tmp_path / "odd.pth")


def test_values_that_are_not_tensors(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1), "epoch": 3}}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="the values of epoch are not tensors"):
        foreign.read_state(tmp_path / "odd.pth")


def test_a_bare_state_dict_is_read_too(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "bare.pth")
    assert torch.equal(foreign.read_state(tmp_path / "bare.pth")["weight"], torch.ones(2))
