"""The type of the weights and what stays on the device, chosen from the memory that is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:  # the command's options need no library
    import torch

Keep = Literal["all", "denoisers", "one"]
"""What stays on the device between uses: every component, all but the two image encoders and the
prior, or nothing but the component that computes at the moment."""

KEEPS: tuple[Keep, ...] = get_args(Keep)
DENOISERS = ("inpainting", "refining", "autoencoder")
LARGE = 100_000_000  # weights of a part; with fewer, half precision saves nothing worth having
_WORKSPACE = 3_000_000_000  # bytes beside the weights, where a part is large
_MEMINFO = Path("/proc/meminfo")  # where there is none, nothing is known of the host's memory


@dataclass(frozen=True)
class Placement:
    """In which type the weights are, where they compute, and what stays there.

    Attributes:
        why: what it was chosen from, in words; empty where nothing was chosen.
    """

    device: torch.device
    dtype: torch.dtype
    keep: Keep
    why: str = ""

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        reason = f" ({self.why})" if self.why else ""
        return f"{dtype} on {self.device}, --keep {self.keep}{reason}"


def choose_placement(
    counts: Mapping[str, int],
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    keep: Keep | Literal["auto"] = "auto",
    *,
    free: int | None = None,
) -> Placement:
    """What fits the device and keeps the most there.

    On a CPU weights are float32 as long as the largest part fits; elsewhere large ones are in the
    half precision that the device has.

    Args:
        counts: weights of each component, by name.
        dtype: None chooses.
        keep: "auto" chooses.
        free: bytes that are free there; None asks the device.
    """
    import torch

    device = torch.device(device)
    large = max(counts.values()) > LARGE
    half = half_type(device)
    if dtype is not None:
        dtypes = [dtype]
    elif large:
        dtypes = [torch.float32, half] if device.type == "cpu" else [half]
    else:
        dtypes = [torch.float32]
    keeps = KEEPS if keep == "auto" else (keep,)
    if len(dtypes) == len(keeps) == 1:
        return Placement(device, dtypes[0], keeps[0])
    free = free_bytes(device) if free is None else free
    if free is None:
        return Placement(device, dtypes[0], keeps[0])
    room = free - (_WORKSPACE if large else 0)
    words = f"{free / 1e9:.1f} GB are free"
    for option in dtypes:
        for residence in keeps:
            if bytes_needed(counts, option.itemsize, residence) <= room:
                return Placement(device, option, residence, words)
    return Placement(device, dtypes[-1], keeps[-1], words)


def bytes_needed(counts: Mapping[str, int], itemsize: int, keep: Keep) -> int:
    """What the weights take on the device at the most."""
    staying = [n for name, n in counts.items() if stays(name, keep)]
    moving = [n for name, n in counts.items() if not stays(name, keep)]
    return (sum(staying) + max(moving, default=0)) * itemsize


def stays(name: str, keep: Keep) -> bool:
    """Whether a component of the pipeline, by its name, is never moved."""
    return keep == "all" or (keep == "denoisers" and name in DENOISERS)


def half_type(device: torch.device) -> torch.dtype:
    """The half precision that a device is good at."""
    import torch

    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.float16 if device.type == "mps" else torch.bfloat16


def free_bytes(device: torch.device) -> int | None:
    """Of a device's memory, or for a CPU of the host's; None where nobody says."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type != "cpu" or not _MEMINFO.is_file():
        return None
    lines = _MEMINFO.read_text(encoding="utf-8").splitlines()
    kilobytes = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(number) for number in kilobytes), None)
