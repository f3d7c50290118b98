import pytest
import torch

import tiny_clip
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.config import (
    DataConfig,
    LossConfig,
    OvrConfig,
    ScheduleConfig,
    StageConfig,
)
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import UNNAMED, LossTerm, Targets
from ovrcoat.training.objective import Objective
from ovrcoat.training.stages import stage_of

CATEGORIES = CategoryEmbeddings.shared(torch.eye(2, 16), torch.tensor([0, 1]), 2)


def stage(ovr: OvrConfig | None = None, *, queries_per_target: int = 1) -> StageConfig:
    return StageConfig(
        name="x",
        data=(DataConfig(path="x"),),
        schedule=ScheduleConfig(steps=1),
        loss=LossConfig(points=40, queries_per_target=queries_per_target),
        ovr=ovr,
    )


def crop(seed: int, *category_ids: int) -> Crop:
    """A noisy image with a vertical strip per category."""
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 255
    masks = torch.zeros(len(category_ids), 64, 64, dtype=torch.bool)
    for place, mask in enumerate(masks):
        mask[:, 20 * place : 20 * place + 20] = True
    labels = Targets(
        masks, torch.tensor(category_ids, dtype=torch.long), torch.ones(64, 64, dtype=torch.bool)
    )
    return Crop(f"{seed}.png", pixels, (64, 64), labels, seed=seed)


def make(
    settings: StageConfig, *, bfloat16: bool = False, selected_queries: int = 0, local_masks: bool = False
) -> tuple[SegmentationNetwork, Objective]:
    network = tiny_clip.make_network("convnext", selected_queries=selected_queries, local_masks=local_masks)
    objective = Objective(network, settings, categories=CATEGORIES, bfloat16=bfloat16)
    stage_of(settings).prepare(network)
    network.encoder.visual_trunk.eval()  # no stochastic depth here
    return network, objective


def values(terms: dict[str, LossTerm]) -> dict[str, float]:
    return {name: term.value().item() for name, term in terms.items()}


def test_the_first_stage_has_three_terms_and_no_gradient_in_the_encoder():
    network, objective = make(stage())
    terms = objective([crop(0, 0, 1)])
    assert set(terms) == {"category", "mask", "dice"}
    torch.stack([term.value() for term in terms.values()]).sum().backward()
    assert all(parameter.grad is None for parameter in network.encoder.parameters())


def test_the_second_stage_adds_ovr_and_its_gradient_reaches_the_encoder_only():
    network, objective = make(stage(OvrConfig(weight=0.1)))
    terms = objective([crop(0, 0, 1)])
    assert set(terms) == {"category", "mask", "dice", "ovr"}
    assert sum(1 for _ in objective.parameters()) == sum(1 for _ in network.parameters())  # no second encoder
    terms["ovr"].value().backward()
    for name, parameter in network.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert not reached or name.startswith("encoder."), name
    assert network.encoder.visual_trunk.stem[0].weight.grad is not None
    assert network.encoder.logit_scale.grad is not None
    assert network.encoder.head_projection[0].weight.grad is None


def test_selected_queries_add_a_term_and_all_their_weights_are_trained():
    network, objective = make(stage(), selected_queries=8, local_masks=True)
    torch.nn.init.normal_(network.mask_decoder.selector.extent.head.layers[-1].weight)  # zero before training
    terms = objective([crop(0, 0, 1), crop(1, 1, UNNAMED, 0)])
    assert set(terms) == {"category", "mask", "dice", "center", "extent"}
    torch.stack([term.value() for term in terms.values()]).sum().backward()
    for name, parameter in network.mask_decoder.selector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_selected_queries_have_matched_masks_of_their_own():
    _, learned = make(stage())
    _, selected = make(stage(), selected_queries=8)
    crops = [crop(0, 0, 1)]  # strips of 20 columns, so some of the 64 cells are inside
    assert learned(crops)["mask"].denominators.tolist() == [2.0] * 4
    counts = selected(crops)["mask"].denominators.tolist()
    assert all(3.0 <= count <= 4.0 for count in counts)


def test_crops_without_targets_train_the_heatmap():
    network, objective = make(stage(), selected_queries=8)
    terms = objective([crop(0)])
    assert terms["mask"].value() == terms["dice"].value() == 0
    terms["center"].value().backward()
    assert network.mask_decoder.selector.center_head[0].weight.grad.any()


def test_selected_queries_under_autocast():
    _, exact = make(stage(), selected_queries=8, local_masks=True)
    _, mixed = make(stage(), selected_queries=8, local_masks=True, bfloat16=True)
    expected, found = (values(objective([crop(0, 0, 1)])) for objective in (exact, mixed))
    assert found["center"] == pytest.approx(expected["center"], rel=0.05)
    assert found["mask"] == pytest.approx(expected["mask"], rel=0.05)


def test_several_queries_per_target_are_part_of_the_losses():
    _, one = make(stage())
    _, two = make(stage(queries_per_target=2))
    for name in ("mask", "dice"):
        assert two([A])[name].denominators.tolist() == [2 * n for n in one([A])[name].denominators.tolist()]
        assert two([A])[name].numerators.sum() > 1.5 * one([A])[name].numerators.sum()


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_batch_without_masks_gives_no_mask_loss_and_no_nan(bfloat16: bool):
    network, objective = make(stage(OvrConfig()), bfloat16=bfloat16)
    terms = objective([crop(0), crop(1)])
    found = values(terms)
    assert found["mask"] == found["dice"] == found["ovr"] == 0
    assert found["category"] > 0
    torch.stack([term.value() for term in terms.values()]).sum().backward()
    for name, parameter in network.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, (
            f"{name}: processes would wait for it"
        )
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_unnamed_targets_train_masks_only():
    _, objective = make(stage(OvrConfig()))
    found = values(objective([crop(0, UNNAMED, UNNAMED)]))
    assert found["ovr"] == 0
    assert found["mask"] > 0
    assert found["category"] > 0


def test_the_loss_of_an_image_is_independent_of_the_batch():
    """Every image has its own points; terms of a batch are sums over its images."""
    _, objective = make(stage(OvrConfig()))
    one, other, both = (objective(list(crops)) for crops in ([A], [B], [A, B]))
    for name in both:
        torch.testing.assert_close(both[name].numerators, one[name].numerators + other[name].numerators)
        torch.testing.assert_close(both[name].denominators, one[name].denominators + other[name].denominators)


A, B = crop(0, 0, 1), crop(1, 1)


def test_terms_are_in_float32_whatever_the_network_computes_in():
    _, exact = make(stage(OvrConfig()))
    _, rough = make(stage(OvrConfig()), bfloat16=True)
    for name, term in rough([A, B]).items():
        assert term.numerators.dtype == torch.float32
        assert term.value().item() == pytest.approx(exact([A, B])[name].value().item(), rel=0.1)
