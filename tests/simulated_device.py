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
from torch.nn import functional as F
from torch.nn.utils import clip_grad
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
    """A tensor of the simulated device; `value` holds its numbers, on the CPU.

    For PyTorch's C++ code it is a tensor of the CPU, whose backward pass needs no driver.
    """

    value: Tensor
    device = property(lambda self: DEVICE)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, value: Tensor) -> "DeviceTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            layout=value.layout,
            device=CPU,
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
        to_device = requested is not None and torch.device(requested).type == DEVICE.type
        if func is aten._to_copy.default and to_device and not on_device:
            self.traffic.to_device[_caller()] += 1
        masked = func in MIXED and any(tensor.dtype is torch.bool for tensor in tensors[1:])
        if on_device and (func in READS or masked):
            self.traffic.reads[_caller()] += 1
        values = [_value(leaf) for leaf in leaves]
        plain_args, plain_kwargs = tree_unflatten(values, structure)
        if requested is not None:
            plain_kwargs["device"] = CPU
        plain_kwargs.pop("pin_memory", None)  # needs a driver
        result = func(*plain_args, **plain_kwargs)
        if not on_device and not to_device:
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
    """Replaces what C++ code decides by the device of a tensor before the dispatcher sees it."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic
        self._methods: dict[Any, Callable[..., Any]] = {
            F.one_hot: lambda tensor, *classes: DeviceTensor(F.one_hot(tensor.value, *classes)),
            Tensor.backward: self._backward,
            Tensor.cpu: self._to_cpu,
            Tensor.new_tensor: lambda like, data, **options: torch.tensor(
                data, **({"dtype": like.dtype} | options)
            ).to(DEVICE),
            Tensor.numpy: self._to_numpy,
            Tensor.to: self._to,
            Tensor.tolist: lambda tensor: self._to_cpu(tensor).tolist(),
            Tensor.__getitem__: self._item,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not torch.is_inference_mode_enabled():
            return self._call(func, args, dict(kwargs or {}))
        # subclasses do not support views of inference mode
        with torch.inference_mode(False), torch.no_grad():
            return self._call(func, args, dict(kwargs or {}))

    def _call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if args and isinstance(args[0], DeviceTensor) and func in self._methods:
            return self._methods[func](*args, **kwargs)
        return func(*args, **kwargs)

    def _backward(self, tensor: DeviceTensor, gradient: Any = None, **options: Any) -> None:
        # this mode stays on for what activation checkpointing computes again
        with self, mock.patch("torch.autograd.has_torch_function", return_value=False):
            torch.autograd.backward(tensor, gradient, **options)

    def _to(self, tensor: DeviceTensor, *args: Any, **kwargs: Any) -> Tensor:
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        on_cpu = device is not None and device.type == CPU.type
        return (self._to_cpu(tensor) if on_cpu else tensor).to(
            dtype=dtype, memory_format=memory_format or torch.preserve_format
        )

    def _to_numpy(self, tensor: DeviceTensor) -> None:
        raise TypeError(f"can't convert a tensor on {DEVICE} to numpy (at {_caller()})")

    def _item(self, tensor: DeviceTensor, index: Any) -> Tensor:
        return Tensor.__getitem__(
            tensor, torch.tensor(index).to(DEVICE) if isinstance(index, list) else index
        )

    def _to_cpu(self, tensor: DeviceTensor) -> Tensor:
        if tensor.requires_grad:
            raise RuntimeError(
                f"a copy to the CPU would end the gradient of this simulation (at {_caller()})"
            )
        self.traffic.to_cpu[_caller()] += 1
        return tensor.value.clone()


_RealGenerator, _real_rand = torch.Generator, torch.rand


class _Generator:
    """A generator of the device; it draws on the CPU."""

    def __new__(cls, device: object = CPU) -> Any:
        return _RealGenerator() if torch.device(str(device)).type == CPU.type else super().__new__(cls)

    def __init__(self, device: object) -> None:
        self.real = _RealGenerator()

    def manual_seed(self, seed: int) -> "_Generator":
        self.real.manual_seed(seed)
        return self


def _rand(*size: int, generator: Any = None, device: object = CPU, **options: Any) -> Tensor:
    """`torch.rand`, which checks the class of its generator before any mode is asked."""
    on_device = isinstance(generator, _Generator)
    if generator is not None and on_device != (torch.device(str(device)).type == DEVICE.type):
        raise RuntimeError(f"expected a generator of the device {device} (at {_caller()})")
    return _real_rand(*size, generator=generator.real if on_device else generator, **options).to(device)


_real_autocast = torch.autocast


def _autocast(device_type: str, **options: Any) -> torch.autocast:
    return _real_autocast(CPU.type, **options)


_real_group = clip_grad._group_tensors_by_device_and_dtype


def _group_by_device(lists: list[list[Tensor]]) -> dict[Any, Any]:
    return {
        (tensors[0].device, dtype): ((tensors, *others), indices)
        for (_, dtype), ((tensors, *others), indices) in _real_group(lists).items()
    }


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
            ("torch.autocast", _autocast),
            ("torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype", _group_by_device),
            ("torch.Generator", _Generator),
            ("torch.rand", _rand),
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
        stack.enter_context(_Dispatch(traffic))
        stack.enter_context(_Functions(traffic))
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
