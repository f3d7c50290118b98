"""The two stages of training: which parameters are trained, and their learning rates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.training.config import StageConfig

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
# Embeddings (`nn.Embedding` in the released code), which have no weight decay. The pixel decoder's level
# embedding is a plain parameter there and therefore has weight decay.
EMBEDDINGS = (
    "mask_decoder.query_features",
    "mask_decoder.query_positions",
    "mask_decoder.level_embedding",
    "text_classifier.void_embedding",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage trains. All parameters outside the encoder are trained in both stages.

    Attributes:
        name: name of the kind of stage.
        encoder_parts: attributes of the encoder that are trained. Its text tower, final norm and projection
            never are. (A ResNet's projection is its attention pooling, which is part of the trunk and is
            trained.)
        encoder_lr_multiplier: learning rate of these parts relative to the other parameters.
        ovr_weight: weight of the OVR loss; 0 disables it.
    """

    name: str
    encoder_parts: tuple[str, ...]
    encoder_lr_multiplier: float
    ovr_weight: float

    def trains(self, parameter: str) -> bool:
        """Return whether the parameter of that name is trained."""
        part, _, rest = parameter.partition(".")
        return part != "encoder" or rest.split(".")[0] in self.encoder_parts

    def prepare(self, network: SegmentationNetwork) -> dict[str, nn.Parameter]:
        """Freeze parameters, set training and eval modes, and return the trained parameters by name.

        Frozen parts are in eval mode, so that they compute the same as at inference.
        """
        network.train()  # the encoder overrides this to keep its BatchNorms in eval mode
        if not self.encoder_parts:
            network.encoder.eval()
        for name, part in network.encoder.named_children():
            if name not in self.encoder_parts:
                part.eval()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self.trains(name))
        return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


# "segmentation" is the training of FC-CLIP, "ovr" the fine-tuning of OVRCOAT (released configuration: encoder
# at a tenth of the learning rate, loss weight 0.1, trainable CLIP temperature).
STAGES = {
    "segmentation": Stage("segmentation", encoder_parts=(), encoder_lr_multiplier=0.0, ovr_weight=0.0),
    "ovr": Stage(
        "ovr", encoder_parts=("visual_trunk", "logit_scale"), encoder_lr_multiplier=0.1, ovr_weight=0.1
    ),
}


def stage_of(settings: StageConfig) -> Stage:
    """Return the stage that a configuration describes."""
    if settings.ovr is None:
        return STAGES["segmentation"]
    default = STAGES["ovr"]
    parts = default.encoder_parts if settings.ovr.train_temperature else ("visual_trunk",)
    return replace(
        default,
        encoder_parts=parts,
        encoder_lr_multiplier=settings.ovr.encoder_lr_multiplier,
        ovr_weight=settings.ovr.weight,
    )


def parameter_groups(
    network: SegmentationNetwork, stage: Stage, *, learning_rate: float, weight_decay: float
) -> list[dict[str, object]]:
    """Parameter groups for an optimizer. Norms and embeddings have no weight decay.

    Returns:
        Groups with the keys `params`, `lr`, `weight_decay` and, for logs and tests, `names`.
    """
    no_decay = set(EMBEDDINGS) | set(_norm_parameters(network))
    groups: dict[tuple[float, float], dict[str, list[object]]] = {}
    for name, parameter in network.named_parameters():
        if not stage.trains(name):
            continue
        rate = learning_rate * (stage.encoder_lr_multiplier if name.startswith("encoder.") else 1.0)
        decay = 0.0 if name in no_decay else weight_decay
        group = groups.setdefault((rate, decay), {"params": [], "names": []})
        group["params"].append(parameter)
        group["names"].append(name)
    return [{**group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def _norm_parameters(network: nn.Module) -> Iterator[str]:
    for path, module in network.named_modules():
        if isinstance(module, NORMS):
            for name, _ in module.named_parameters(recurse=False):
                yield f"{path}.{name}"
