"""What in a weights file is no plain tensor, or more than the file deserves: said, not raised."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..quoting import one_line, short

WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SLACK = 64 << 20  # bytes that a small compressed archive may unpack to


def odd_archive(path: Path) -> str:
    """What is wrong with a zip file of PyTorch, which compresses nothing; else nothing.

    A few kilobytes can unpack to any number of gigabytes, one compressed entry or many names of
    the same bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # a damaged archive fails in whatever way its bytes lead to
        return ""
    size = path.stat().st_size
    if unpacked <= 2 * size + _SLACK:
        return ""
    return f"is an archive that unpacks to {unpacked} bytes, which no weights file does."


def odd_tensor(tensors: Mapping[object, Tensor]) -> str:
    """What is wrong with the first tensor that is no plain one, in a sentence; else nothing.

    Plain is a name that is a text, and a dense tensor in memory. Views that repeat a few values may
    be of any size, so all of them together must be about as large as what was stored.
    """
    total, storages = 0, dict[int, int]()
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            return f"it has a tensor under the name {short(key)}, which is no text."
        name = one_line(key, 80)
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            return f"the tensor {name} is a {type(tensor).__name__}."
        kinds = {
            "nested": tensor.is_nested,
            "sparse": tensor.layout is not torch.strided,
            "quantised": tensor.is_quantized,
            "without values": tensor.device.type != "cpu",
        }
        for kind, is_so in kinds.items():
            if is_so:
                return f"the tensor {name} is {kind} ({tensor.dtype})."
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        total += tensor.numel() * tensor.element_size()
    if total > 2 * sum(storages.values()) + _SLACK:
        return f"its {len(tensors)} tensors are {total} bytes of far fewer values."
    return ""


def odd_weight(name: str, tensor: Tensor) -> str:
    """What makes a tensor no weight of a network, in a sentence; else nothing."""
    if tensor.dtype not in WEIGHT_TYPES:
        kinds = ", ".join(str(kind).removeprefix("torch.") for kind in WEIGHT_TYPES)
        return f"the tensor {name} is in {tensor.dtype}; weights are in {kinds}"
    if tensor.numel() and not all(bound.isfinite() for bound in tensor.aminmax()):
        return f"the tensor {name} holds NaN or infinity, from which no picture can be made"
    return ""
