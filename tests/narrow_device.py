"""A device without float64, as Apple's MPS and some of Intel's are, made of the CPU.

Its tensors hold one on the CPU and say that they lie on the device `lean`. As there, no float64
comes onto the device, and a tensor of the CPU does not meet one of the device, but for numbers and
indices. PyTorch takes one device of Python's own a process, and keeps it: `python -m
tests.narrow_device` is such a process, which runs the pipeline there and on the CPU and prints
the largest difference of every case.
"""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.utils.backend_registration as registration
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "lean"
TOO_WIDE = (torch.float64, torch.complex128)
MOVES = ("aten::_to_copy", "aten::copy_")
TAKES_INDICES = ("aten::index", "aten::_index_put_impl_", "aten::index_put_")


class OnDevice(torch.Tensor):
    """A tensor of the device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        if inner.dtype in TOO_WIDE:
            raise TypeError(f"the device {NAME} has no {inner.dtype}")
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        self.inner = inner
        return self

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class Narrow(TorchDispatchMode):
    """Makes what is asked for by the device's name, which no argument on the device leads here."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the tensors within."""
    name = func._schema.name
    tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    foreign = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.ndim]
    if ours and foreign and name not in (*MOVES, *TAKES_INDICES):
        raise RuntimeError(f"{name}: tensors of the device {NAME} and of the CPU")
    on_device = bool(ours)
    if kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map(plain, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    if name == "aten::copy_":
        return args[0]
    if not on_device:
        return result
    outer = {id(tensor.inner): tensor for tensor in ours}  # what an operation changed in place

    def placed(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return outer[id(item)] if id(item) in outer else OnDevice(item)

    return tree_map(placed, result)


def plain(item: Any) -> Any:
    """A device's tensor as the one of the CPU in it; anything else as it is."""
    return item.inner if isinstance(item, OnDevice) else item


def register() -> Narrow:
    """The device, for the rest of the process; use it in the mode that is returned."""
    registration._setup_privateuseone_for_python_backend(NAME)
    # Inference tensors do not pass through Python's dispatch.
    torch.inference_mode = torch.no_grad  # type: ignore[assignment,misc]
    # `torch.tensor(..., device=...)` reaches these without passing through the mode.
    library = torch.library.Library("aten", "IMPL")

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> OnDevice:
        return OnDevice(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))

    def copy_(self: OnDevice, src: Tensor, non_blocking: bool = False) -> OnDevice:
        self.inner.copy_(plain(src))
        return self

    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("copy_", copy_, "PrivateUse1")
    mode = Narrow()
    mode.library = library  # type: ignore[attr-defined]  # unregistered where nobody holds it
    return mode


def facts() -> dict[str, Any]:
    """The largest difference of each case's pictures from the CPU's; what the device refuses."""
    mode = register()
    from pcdm_core.pipeline import PCDMsPipeline
    from pcdm_core.pose.keypoints import Keypoints
    from pcdm_core.speed import FAST_PRESETS
    from tests.core.tiny_pipeline import TEST, components, picture, poses

    cases: dict[str, dict[str, Any]] = {
        "source's size": {"restore": True},
        "rescaled": {"guidance_rescale": 0.7},
        "in chunks": {"chunk": 1, "with_refining": False},
        "fast": {"fast": replace(FAST_PRESETS["fast"], steps=3)},
    }
    torch.manual_seed(0)
    pictures, parts = picture(0, 90, 70), components()
    report: dict[str, Any] = {"differences": {}}
    for name, options in cases.items():
        images = []
        for device in ("cpu", NAME):
            with mode:
                on_device: dict[str, Any] = {k: deepcopy(p).to(device) for k, p in parts.items()}
                pipeline = PCDMsPipeline(TEST, **on_device)
                run = {"seed": 3, "steps": 2, **options}
                result = pipeline(pictures, poses(1), poses(2, 5), **run)
                images.append(result.image.cpu())
                assert result.mask.device.type == result.image.device.type
        report["differences"][name] = float((images[0] - images[1]).abs().max())
    with mode:
        moved = poses(1).to(NAME)
        again = Keypoints.from_pixels(moved.to_pixels(96, 64), moved.visible, 96, 64)
        report["key points"] = [str(tensor.dtype) for tensor in (moved.xy, again.xy)]
        try:
            pictures.to(NAME).double()
        except TypeError as error:
            report["refuses"] = str(error)
    return report


if __name__ == "__main__":
    print(json.dumps(facts()))
