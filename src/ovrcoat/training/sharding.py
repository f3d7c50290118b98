"""FSDP2: parameters, gradients and optimizer states divided among all processes, for large encoders.

Each block of the encoder is gathered when it runs. All other trained parts are one group, which is gathered
for the whole step. The frozen text tower is not used in a step and is sharded like a group that never runs.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from ovrcoat.config import ModelConfig
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.training.losses import LossTerm


def shard(objective: nn.Module, network: SegmentationNetwork) -> None:
    """Shard the parameters of a network among all processes, in place.

    Args:
        objective: the module that is called in every step; contains the network.
        network: on the device of this process, with the same weights in every process.
    """
    from torch.distributed.fsdp import fully_shard

    _register_loss_term()
    network.to(memory_format=torch.contiguous_format)  # FSDP does not support other strides
    for block in network.encoder.checkpointed_blocks():
        fully_shard(block)
    fully_shard(network.encoder.get_submodule("text_tower"))
    # FSDP does not support scalars (CLIP's temperatures): every process has them, see `average_gradients`
    fully_shard(
        objective, ignored_params={parameter for parameter in network.parameters() if parameter.ndim == 0}
    )


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of the parameters that are not sharded over all processes."""
    for parameter in parameters:
        if parameter.grad is not None and not _is_sharded(parameter):
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients so that their total norm is at most `max_norm`; return the norm before.

    Like `nn.utils.clip_grad_norm_`, but parameters may be sharded or not.
    """
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for parameter in parameters:
        if parameter.grad is not None:
            groups[_is_sharded(parameter)].append(parameter)
    norms = [
        whole(nn.utils.get_total_norm([parameter.grad for parameter in group if parameter.grad is not None]))
        for group in groups
        if group
    ]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for group in groups:
        nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return norm


def whole(value: Tensor) -> Tensor:
    """Return a sharded tensor as a whole, in every process; other tensors are returned unchanged.

    All processes have to call this for the same tensors in the same order.
    """
    return value.full_tensor() if _is_sharded(value) else value  # type: ignore[attr-defined]


def whole_on_main(values: Any, *, is_main: bool) -> Any:
    """Return nested values with whole tensors on the CPU in the main process; elsewhere None.

    All processes have to call this. One tensor at a time is gathered.
    """

    def gather(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        gathered = whole(value.detach())
        return gathered.cpu() if is_main else None

    gathered = pytree.tree_map(gather, values)
    return gathered if is_main else None


def shard_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return the whole tensor `value`, which every process has, sharded like a parameter of its shape.

    A value that is already sharded is returned unchanged.
    """
    if not _is_sharded(parameter) or _is_sharded(value):
        return value.to(parameter.device)
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    # every process takes its part of its own copy; nothing is sent
    return distribute_tensor(value.to(parameter.device), mesh, placements, src_data_rank=None)


def shard_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return a whole state dict of an optimizer, sharded like its parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        **state,
        "state": {
            number: {
                name: shard_like(value, parameters[number])
                if isinstance(value, Tensor) and value.shape == parameters[number].shape
                else value
                for name, value in values.items()
            }
            for number, values in state["state"].items()
        },
    }


def whole_network(network: SegmentationNetwork, config: ModelConfig) -> SegmentationNetwork:
    """Return a network with the gathered weights, on the CPU, in every process."""
    weights = {name: whole(weight.detach()).cpu() for name, weight in network.state_dict().items()}
    result = build_network(config)
    result.load_state_dict(weights)
    return result


def _is_sharded(value: Tensor) -> bool:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False  # without the import, which takes long
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


@cache
def _register_loss_term() -> None:
    """Let FSDP find the tensors in the output of the objective, whose backward pass it has to prepare."""
    pytree.register_pytree_node(
        LossTerm,
        lambda term: ([term.numerators, term.denominators], (term.weight, term.floor)),
        lambda tensors, context: LossTerm(*tensors, *context),
    )
