"""The two stages of training as data: what trains, what stays frozen, and how fast each part learns."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.training.config import StageConfig

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
# Embeddings in the sense of the released code: rows that are looked up. Its pixel decoder's level embedding
# is a plain parameter there, and so it decays.
LOOKED_UP = (
    "mask_decoder.query_features",
    "mask_decoder.query_positions",
    "mask_decoder.level_embedding",
    "text_classifier.void_embedding",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the trainings. Everything outside the encoder trains in both.

    Attributes:
        name: what a configuration calls it.
        encoder_parts: names of the encoder's parts that train; its text tower, final norm and projection
            never do (a ResNet's projection is its attention pooling, which belongs to the trunk and trains).
        encoder_lr_multiplier: their learning rate over that of the rest.
        ovr_weight: weight of the OVR loss; 0 is off.
    """

    name: str
    encoder_parts: tuple[str, ...]
    encoder_lr_multiplier: float
    ovr_weight: float

    def trains(self, parameter: str) -> bool:
        """Whether the parameter of that name trains."""
        part, _, rest = parameter.partition(".")
        return part != "encoder" or rest.split(".")[0] in self.encoder_parts

    def prepare(self, network: SegmentationNetwork) -> dict[str, nn.Parameter]:
        """Freeze what does not train, set the modes, and return what trains, by name.

        Frozen parts are in eval mode: they compute in training what they compute in use.
        """
        network.train()  # in which the encoder keeps its BatchNorms in eval mode
        if not self.encoder_parts:
            network.encoder.eval()
        for name, part in network.encoder.named_children():
            if name not in self.encoder_parts:
                part.eval()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self.trains(name))
        return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


# Published: FC-CLIP's training is the first, OVRCOAT's fine-tuning the second (its released configuration:
# encoder at a tenth of the rate, loss weight 0.1, CLIP's temperature trains too).
STAGES = {
    "segmentation": Stage("segmentation", encoder_parts=(), encoder_lr_multiplier=0.0, ovr_weight=0.0),
    "ovr": Stage(
        "ovr", encoder_parts=("visual_trunk", "logit_scale"), encoder_lr_multiplier=0.1, ovr_weight=0.1
    ),
}


def stage_of(settings: StageConfig) -> Stage:
    """The stage that a configuration describes."""
    if settings.ovr is None:
        return STAGES["segmentation"]
    usual = STAGES["ovr"]
    parts = usual.encoder_parts if settings.ovr.train_temperature else ("visual_trunk",)
    return replace(
        usual,
        encoder_parts=parts,
        encoder_lr_multiplier=settings.ovr.encoder_lr_multiplier,
        ovr_weight=settings.ovr.weight,
    )


def parameter_groups(
    network: SegmentationNetwork, stage: Stage, *, learning_rate: float, weight_decay: float
) -> list[dict[str, object]]:
    """Groups for an optimiser: the encoder learns slower; norms and looked-up rows do not decay.

    Each group has `params`, `lr`, `weight_decay` and, for logs and tests, `names`.
    """
    undecayed = set(LOOKED_UP) | set(_norm_parameters(network))
    groups: dict[tuple[float, float], dict[str, list[object]]] = {}
    for name, parameter in network.named_parameters():
        if not stage.trains(name):
            continue
        rate = learning_rate * (stage.encoder_lr_multiplier if name.startswith("encoder.") else 1.0)
        decay = 0.0 if name in undecayed else weight_decay
        group = groups.setdefault((rate, decay), {"params": [], "names": []})
        group["params"].append(parameter)
        group["names"].append(name)
    return [{**group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def _norm_parameters(network: nn.Module) -> Iterator[str]:
    for path, module in network.named_modules():
        if isinstance(module, NORMS):
            for name, _ in module.named_parameters(recurse=False):
                yield f"{path}.{name}"
