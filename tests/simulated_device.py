"""A simulated CUDA device: tensors report a device of their own, and their values are computed on the CPU.

The complete code runs unchanged, with real values, and takes the branches for devices other than the CPU.
What a real device would refuse raises an error here as well: an operation on tensors of two devices, or
conversion to NumPy without a copy to the CPU. Copies between the devices and reads that wait for the device
are recorded with the line that made them. float64 is refused too, because MPS does not support it.

PyTorch's FakeTensorMode has no values, so code that depends on them, such as post-processing and matching,
cannot run in it. tests/integration/test_fake_tensors.py runs the rest in it, at full size.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import ovrcoat

DEVICE = torch.device("cuda:0")
CPU = torch.device("cpu")
PACKAGE = Path(ovrcoat.__file__).parent
aten = torch.ops.aten
# operations that wait for the device: a value of the CPU or the size of their result depends on its values
READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
}
# PyTorch accepts these pairs of devices: indices of the CPU for a tensor of a device, and copies
MIXED = {aten.copy_.default, aten.index.Tensor, aten._index_put_impl_.default, aten.index_put.default}


class DeviceTensor(Tensor):
    """A tensor of the simulated device; `value` holds its numbers, on the CPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> "DeviceTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            layout=value.layout,
            device=DEVICE,
        )
        tensor.value = value
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} was called outside the simulation")


@dataclass
class Traffic:
    """What moved between the devices, by the line of the package that asked for it.

    Attributes:
        to_cpu: tensors copied to the CPU.
        to_device: tensors copied to the device.
        reads: operations whose result on the CPU depends on values of the device, such as `.item()`.
    """

    to_cpu: Counter[str] = field(default_factory=Counter)
    to_device: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Forget everything."""
        for counter in (self.to_cpu, self.to_device, self.reads):
            counter.clear()

    def waits(self) -> set[str]:
        """The files of the package in which the CPU waits for the device."""
        return {line.split(":")[0] for line in (*self.to_cpu, *self.reads)}


class _Dispatch(TorchDispatchMode):
    """Runs every operation on the CPU, and checks the devices as PyTorch would."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._can_decompose():  # tensors made in inference mode, such as those from NumPy
            with self:
                return func.decompose(*args, **(kwargs or {}))
        leaves, structure = tree_flatten((args, dict(kwargs or {})))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        on_device = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
        requested = (kwargs or {}).get("device")
        if on_device:
            self._check_devices(func, tensors)
        target = torch.device(requested) if requested is not None else DEVICE if on_device else CPU
        if func is aten._to_copy.default and on_device != (target.type == DEVICE.type):
            (self.traffic.to_cpu if on_device else self.traffic.to_device)[_caller()] += 1
        masked = func in MIXED and any(tensor.dtype is torch.bool for tensor in tensors[1:])
        if on_device and (func in READS or masked):
            self.traffic.reads[_caller()] += 1
        values = [_value(leaf) for leaf in leaves]
        plain_args, plain_kwargs = tree_unflatten(values, structure)
        if requested is not None:
            plain_kwargs["device"] = CPU
        plain_kwargs.pop("pin_memory", None)  # needs a driver
        result = func(*plain_args, **plain_kwargs)
        if target.type == CPU.type:
            return result
        # an operation in place returns its own tensor
        known = {id(value): leaf for value, leaf in zip(values, leaves, strict=True)}
        return tree_map(lambda out: known[id(out)] if id(out) in known else _wrap(func, out), result)

    def _check_devices(self, func: Any, tensors: Sequence[Tensor]) -> None:
        strays = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor) and tensor.ndim > 0]
        if strays and func not in MIXED:
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, but found a tensor of shape "
                f"{tuple(strays[0].shape)} on the CPU (at {_caller()})"
            )
        if strays and func is aten.copy_.default:
            (self.traffic.to_device if isinstance(tensors[0], DeviceTensor) else self.traffic.to_cpu)[
                _caller()
            ] += 1


class _Functions(TorchFunctionMode):
    """Replaces the few functions that do not reach the dispatcher on a machine without the device."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not torch.is_inference_mode_enabled():
            return self._call(func, args, dict(kwargs or {}))
        with (
            torch.inference_mode(False),
            torch.no_grad(),
        ):  # subclasses do not support views of inference mode
            return self._call(func, args, dict(kwargs or {}))

    def _call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func is Tensor.new_tensor and isinstance(args[0], DeviceTensor):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].cpu().tolist()
        if func is Tensor.numpy and isinstance(args[0], DeviceTensor):
            raise TypeError(f"can't convert a tensor on {DEVICE} to numpy (at {_caller()})")
        if func is Tensor.__getitem__ and isinstance(args[0], DeviceTensor) and isinstance(args[1], list):
            return args[0][torch.tensor(args[1]).to(DEVICE)]
        generator = kwargs.get("generator")
        if isinstance(generator, _Generator):
            device = kwargs.pop("device", CPU)
            assert torch.device(device).type == generator.device.type, "generator of another device"
            return func(*args, **(kwargs | {"generator": generator.real})).to(device)
        return func(*args, **kwargs)


_RealGenerator = torch.Generator


class _Generator:
    """Replaces `torch.Generator`: draws on the CPU for both devices."""

    def __init__(self, device: object = CPU) -> None:
        self.device = torch.device(str(device))
        self.real = _RealGenerator()

    def manual_seed(self, seed: int) -> "_Generator":
        self.real.manual_seed(seed)
        return self


@contextmanager
def simulated_device() -> Iterator[Traffic]:
    """Make "cuda" usable in the block; yields the record of what moved between the devices."""
    traffic = Traffic()
    torch._C._ensureCUDADeviceGuardSet()  # what FakeTensorMode calls: replaces the guard without a driver
    with ExitStack() as stack:
        for name, value in (
            ("torch.cuda._lazy_init", lambda: None),
            ("torch.cuda.is_available", lambda: True),
            ("torch.cuda.device_count", lambda: 1),
            ("torch.cuda.is_bf16_supported", lambda including_emulation=True: True),
            ("torch.Generator", _Generator),
            # random numbers are drawn on the CPU for both devices
            ("torch.random.fork_rng", partial(torch.random.fork_rng, devices=[])),
            ("torch.cuda.get_rng_state", torch.get_rng_state),
            ("torch.cuda.set_rng_state", torch.set_rng_state),
            ("torch.cuda.manual_seed_all", lambda seed: None),
        ):
            stack.enter_context(mock.patch(name, value))
        # modules get new parameters: a parameter of the CPU cannot become one of this class
        replace_parameters = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, replace_parameters)
        # on this thread: PyTorch has no backward thread for a device that does not exist
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(_Dispatch(traffic))
        stack.enter_context(_Functions())
        yield traffic


def on_cpu(value: Tensor) -> Tensor:
    """The numbers of a tensor of either device, without a record of the copy."""
    return value.value if isinstance(value, DeviceTensor) else value


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, DeviceTensor) else leaf


def _wrap(func: Any, out: Any) -> Any:
    if not isinstance(out, Tensor):
        return out
    if out.dtype == torch.float64:
        raise TypeError(f"{func}: float64 on the device, which MPS does not support (at {_caller()})")
    return DeviceTensor(out)


def _caller() -> str:
    """The innermost line of the package, as file:line."""
    for frame in reversed(traceback.extract_stack(limit=60)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE)}:{frame.lineno}"
    return "outside the package"
