"""A second device, `apart`, which a machine without one has too: its tensors are tensors of the CPU, but no operation
takes them together with the CPU's own, as on a GPU.

Importing this changes PyTorch for the whole process: see test_apart.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _device, backend_registration
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

BETWEEN = ("_to_copy", "copy_", "_local_scalar_dense")
"""Operations that carry values from one device to another."""


class Apart(torch.Tensor):
    """A tensor of the second device around one of the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Apart:
        made: Apart = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device("apart", 0),
        )  # fmt: skip
        return made

    def __init__(self, inner: torch.Tensor) -> None:
        self.held = inner

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(op, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Apart({self.held})"


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of ATen on the tensors inside, refused where it mixes devices."""
    given, spec = tree_flatten((args, kwargs))
    tensors = [x for x in given if isinstance(x, torch.Tensor)]
    ours = [x for x in tensors if isinstance(x, Apart)]
    name = op._schema.name.removeprefix("aten::")
    if name not in BETWEEN and ours and any(x.dim() for x in tensors if not isinstance(x, Apart)):
        raise RuntimeError(f"{name} was given tensors of two devices: {[(type(x), tuple(x.shape)) for x in tensors]}")
    device = kwargs.get("device")
    here = bool(ours) if device is None else torch.device(device).type == "apart"
    inner = [x.held if isinstance(x, Apart) else "cpu" if isinstance(x, torch.device) else x for x in given]
    plain_args, plain_kwargs = tree_unflatten(inner, spec)
    found = op(*plain_args, **plain_kwargs)
    if name.endswith("_"):  # in place
        return args[0]
    same = {id(x): y for x, y in zip(inner, given, strict=True) if isinstance(y, Apart)}

    def carried(x: Any) -> Any:
        if not (here and isinstance(x, torch.Tensor)):
            return x
        return same[id(x)] if id(x) in same else Apart(x)

    return tree_map(carried, found)


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _carried(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that makes tensors, which makes those of the second device on the CPU first."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if device is None or torch.device(device).type != "apart":
            return make(*args, device=device, **kwargs)
        return make(*args, **kwargs).to(device)

    return made


backend_registration._setup_privateuseone_for_python_backend("apart", backend_module=_Module())
_library = torch.library.Library("_", "IMPL")
_library.fallback(_run, "PrivateUse1")
_device._device_constructors()  # keeps the functions that it finds
# What PyTorch cannot do on a device that is written in Python:
torch.tensor, torch.arange = _carried(torch.tensor), _carried(torch.arange)
torch.inference_mode = torch.no_grad  # type: ignore[misc,assignment]
