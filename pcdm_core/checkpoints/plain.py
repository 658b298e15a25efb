"""What in a weights file is no plain tensor, or more than the file deserves: said, not raised."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..quoting import one_line, short

WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LEAVES, _DEPTH = 10_000, 50  # of a tuple in a pickle; those of tensors have 20 in 3 levels
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


def odd_tuple(path: Path, is_zip: bool) -> str:
    """What is wrong with the pickles of a PyTorch file, as a sentence's end; else nothing.

    A tuple may hold another one twice, and so on: a key of 40 levels takes days to look up, and one
    of 100,000 levels ends the process. Nothing is unpickled to find out.

    Raises:
        UnpicklingError: the pickle is damaged.
    """
    try:
        sizes = _tuples_of_archive(path) if is_zip else _tuples_of_stream(path)
        is_odd = any(leaves > _LEAVES or depth > _DEPTH for leaves, depth in sizes)
    except (ValueError, LookupError, TypeError) as error:
        raise pickle.UnpicklingError(str(error)) from error
    return "nests tuples as no weights file does." if is_odd else ""


def _tuples_of_archive(path: Path) -> Iterator[tuple[int, int]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.lower().endswith("data.pkl"):
                with archive.open(entry) as file:
                    opened: Any = file
                    opened._expected_crc = None  # torch writes none where it is told so
                    yield from _tuples(opened)


def _tuples_of_stream(path: Path) -> Iterator[tuple[int, int]]:
    with path.open("rb") as file:
        for _ in range(5):  # pickles, which stand before the values
            yield from _tuples(file)


def _tuples(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Leaves, each as often as it is reached, and depth of the tuples that a pickle makes."""
    flat = 1, 0
    stack, memo = list[tuple[int, int] | None](), dict[object, tuple[int, int] | None]()
    for operation, argument, _ in pickletools.genops(file):
        name, before = operation.name, operation.stack_before
        if name.endswith("PUT"):
            memo[argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(None)
        else:
            items = list[tuple[int, int]]()
            if pickletools.markobject in before:
                while (item := stack.pop()) is not None:
                    items.append(item)
                before = before[: before.index(pickletools.markobject)]
            items += [stack.pop() or flat for _ in before]
            stack += [flat] * len(operation.stack_after)
            if "TUPLE" in name:
                leaves, depths = zip(flat, *items, strict=True)
                stack[-1] = sum(leaves), 1 + max(depths)
                yield stack[-1]


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
