"""What the published size needs on a card, counted on tensors that have shapes and no values.

    python -m benchmarks.memory [--preset published] [--size 512x512] [--dtype float16] [--poses 1]

Weights are those of the components; activations are the tensors alive at the same time within one
pass of each, by the pipeline's own code (guidance on, tables and keys of a run included). Attention
is counted as fused. Scratch space inside an operation, the allocator's rounding and the device's
own context (0.3-0.5 GiB) come on top. Two sums: one module at a time (`keep="one"`), and both UNets
and the autoencoder resident (`keep="denoisers"`) while each other component computes.
"""

from __future__ import annotations

import argparse
import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pcdm_core.checkpoints import build
from pcdm_core.checkpoints.signatures import CONFIGS
from pcdm_core.conditioning import PriorConditioning
from pcdm_core.config import Preset
from pcdm_core.files import write_text
from pcdm_core.ranges import COUNT

from .inputs import sized

META = torch.device("meta")
GIB = 2**30
RESIDENT = ("inpainting", "refining", "autoencoder")


class LiveBytes(TorchDispatchMode):
    """Bytes of storages that were made within the mode and are alive; on any device."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and _key(leaf) not in known | self._alive:
                storage = leaf.untyped_storage()
                self._alive.add(_key(leaf))
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, _key(leaf), storage.nbytes())
        return out

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


class FusedAttention(TorchFunctionMode):
    """Attention with the tensors of a fused kernel: the result, and one number a query."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, _, value = args[:3]
        _sums = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        return query.new_empty(*query.shape[:-1], value.shape[-1])


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that a call's own tensors take at once."""
    with torch.no_grad(), FusedAttention(), LiveBytes() as counted:
        work()
    return counted.peak


def passes(preset: Preset, dtype: torch.dtype, poses: int) -> dict[str, tuple[int, int]]:
    """Bytes of weights, and of one pass's activations, for everything that computes."""
    scale, channels = preset.autoencoder.downscale, preset.autoencoder.latent_channels
    height, width = preset.height // scale, preset.width // scale
    parts: dict[str, Any] = {
        name: build(name, getattr(preset, name), META).to(dtype).eval()
        for name in CONFIGS
        if getattr(preset, name) is not None
    }
    weights = {
        name: sum(t.nbytes for t in (*part.parameters(), *part.buffers()))
        for name, part in parts.items()
    }

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=META)

    side = preset.patch_encoder.picture_size
    tokens = empty(1, (side // preset.patch_encoder.patch_size) ** 2 + 1,
                   preset.patch_encoder.hidden_size)  # fmt: skip
    times = torch.zeros(20, dtype=torch.int64, device=META)
    works: dict[str, tuple[str, Callable[[], object]]] = {}

    def run(model: Any, cond: Any, shape: tuple[int, ...]) -> None:
        # As `sample` does: joint rows, the history of the sampler in fp32.
        joint = model.unconditional(cond).expand(poses).cat(cond.expand(poses))
        history = torch.empty(len(times) + 1, poses, *shape, device=META)
        x = empty(poses, *shape)
        prediction = model(torch.cat([x, x]), times[:1].expand(2 * poses), joint)
        history[1] = prediction[:poses]

    def inpaint() -> None:
        model = parts["inpainting"]
        embeds = None
        if model.config.embedding_dim is not None:
            embeds = empty(poses, model.config.embedding_dim)
        canvas = empty(1, channels, height, 2 * width)
        pose = empty(poses, 3, preset.height, 2 * preset.width)
        cond = model.condition(tokens.expand(poses, -1, -1), embeds,
                               canvas.expand(poses, -1, -1, -1), pose)  # fmt: skip
        run(model, cond, (channels, height, 2 * width))

    def refine() -> None:
        model = parts["refining"]
        latents = empty(poses, channels, height, width)
        cond = model.condition(tokens.expand(poses, -1, -1), latents)
        run(model, cond, (channels, height, width))

    def predict() -> None:
        model = parts["prior"]
        e = model.config.embedding_dim
        cond = PriorConditioning(empty(poses, e), empty(poses, 1, 36), empty(poses, 1, 36))
        model(empty(poses, e), times[:1].expand(poses), cond)

    autoencoder = parts["autoencoder"]
    works["patch encoder"] = (
        "patch_encoder",
        lambda: parts["patch_encoder"](empty(1, 3, side, side)),
    )
    if preset.global_encoder is not None:
        small = preset.global_encoder.picture_size
        works["global encoder"] = (
            "global_encoder",
            lambda: parts["global_encoder"](empty(1, 3, small, small)),
        )
    works["encode the canvas"] = (
        "autoencoder",
        lambda: autoencoder.encode(empty(1, 3, preset.height, 2 * preset.width)),
    )
    if "prior" in parts:
        works["prior"] = ("prior", predict)
    works["inpainting"] = ("inpainting", inpaint)
    works["decode the canvas"] = (
        "autoencoder",
        lambda: autoencoder.decode(empty(poses, channels, height, 2 * width)),
    )
    if "refining" in parts:
        works["refining"] = ("refining", refine)
    return {name: (weights[part], peak_of(work)) for name, (part, work) in works.items()} | {
        f"weights of {name}": (size, 0) for name, size in weights.items() if name in RESIDENT
    }


def account(preset: Preset, dtype: torch.dtype, poses: int) -> dict[str, Any]:
    """GiB: each pass alone, and beside what is resident; the largest of both."""
    found = passes(preset, dtype, poses)
    resident = {
        name.removeprefix("weights of "): size
        for name, (size, _) in found.items()
        if name.startswith("weights of ")
    }
    rows: dict[str, dict[str, float]] = {}
    for name, (weights, activations) in found.items():
        if name.startswith("weights of "):
            continue
        is_resident = name not in ("patch encoder", "global encoder", "prior")
        beside = sum(resident.values()) + (0 if is_resident else weights) + activations
        rows[name] = {
            "weights": weights / GIB,
            "activations": activations / GIB,
            "one at a time": (weights + activations) / GIB,
            "UNets resident": beside / GIB,
        }
    peaks = {key: max(row[key] for row in rows.values()) for key in
             ("one at a time", "UNets resident")}  # fmt: skip
    return {"rows": rows, "peak GiB": peaks}


def main(arguments: list[str] | None = None) -> int:
    """Print a table; with --json write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="published")
    parser.add_argument("--size", default="512x512", help="height x width")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--poses", type=COUNT.parse, default=1, help="rows that go through at once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    preset = sized(options.preset, options.size)
    found = account(preset, getattr(torch, options.dtype), options.poses)
    about = {"preset": preset.name, "size": options.size, "dtype": options.dtype,
             "poses": options.poses}  # fmt: skip
    columns = ("weights", "activations", "one at a time", "UNets resident")
    lines = [f"GiB, {preset.name}, {options.size}, {options.dtype}, {options.poses} at once",
             "".ljust(20) + "".join(column.rjust(16) for column in columns)]  # fmt: skip
    for name, row in found["rows"].items():
        lines.append(name.ljust(20) + "".join(f"{row[column]:16.2f}" for column in columns))
    lines.append("peak".ljust(52) + "".join(f"{v:16.2f}" for v in found["peak GiB"].values()))
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json is not None:
        write_text(options.json, json.dumps({**about, **found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
