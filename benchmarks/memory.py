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
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from pcdm_core.encoders import LinearImageEncoder
from pcdm_core.files import write_text
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, parse_size

META = torch.device("meta")
GIB = 2**30
RESIDENT = ("inpainting", "refining", "autoencoder")
STEPS = 20


class LiveBytes(TorchDispatchMode):
    """Bytes of storages that were made within the mode and are alive; on any device."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and _key(leaf) not in inputs | self._alive:
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


def peak_bytes(work: Callable[[], object], device: str) -> int:
    """The most that a call had in memory at once, beyond what was there before it.

    On a GPU by the allocator's own account. Elsewhere the bytes of tensors alive at the same time,
    counted: the same on every machine, without the scratch space inside an operation.
    """
    if torch.device(device).type != "cuda":
        with LiveBytes() as counted:
            work()
        return counted.peak
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that a call's own tensors take at once, attention fused, without gradient."""
    with torch.no_grad(), FusedAttention():
        return peak_bytes(work, "meta")


def bytes_of(part: torch.nn.Module) -> int:
    """What a component's weights take."""
    return sum(tensor.nbytes for tensor in (*part.parameters(), *part.buffers()))


def weight_bytes(components: Mapping[str, Any]) -> int:
    """What the weights of all components take."""
    return sum(map(bytes_of, components.values()))


def random_components(preset: Preset, device: str | torch.device) -> dict[str, Any]:
    """Every component that the preset has, with random weights in fp32, or on `meta` none."""
    parts: dict[str, Any] = {
        name: build(name, config, device)
        for name in CONFIGS
        if (config := getattr(preset, name)) is not None
    }
    for part in parts.values():
        if isinstance(part, LinearImageEncoder):  # its projection starts at zero
            part.projection.normal_(std=0.01)
        part.requires_grad_(False).eval()
    return parts


def passes(
    preset: Preset, parts: Mapping[str, Any], dtype: torch.dtype, poses: int
) -> dict[str, tuple[str, Callable[[], object]]]:
    """Name to component and a pass of it, for everything that computes."""
    scale, channels = preset.autoencoder.downscale, preset.autoencoder.latent_channels
    height, width = preset.height // scale, preset.width // scale
    autoencoder, inpainting = parts["autoencoder"], parts["inpainting"]
    side, patch = preset.patch_encoder.picture_size, preset.patch_encoder.patch_size

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=META)

    tokens = empty(1, (side // patch) ** 2 + 1, preset.patch_encoder.hidden_size)
    times = torch.zeros(poses, dtype=torch.int64, device=META)

    def run(model: Any, *inputs: Any, shape: tuple[int, ...]) -> None:
        # As `sample` does: joint rows, the history of the sampler in fp32.
        cond = model.condition(tokens.expand(poses, -1, -1), *inputs)
        joint = model.unconditional(cond).expand(poses).cat(cond.expand(poses))
        history = torch.empty(STEPS + 1, poses, *shape, device=META)
        x = empty(poses, *shape)
        history[1] = model(torch.cat([x, x]), torch.cat([times, times]), joint)[:poses]

    def inpaint() -> None:
        dim, canvas = inpainting.config.embedding_dim, (channels, height, 2 * width)
        embeds = None if dim is None else empty(poses, dim)
        pose_map = empty(poses, 3, preset.height, 2 * preset.width)
        canvas_rows = empty(1, *canvas).expand(poses, -1, -1, -1)
        run(inpainting, embeds, canvas_rows, pose_map, shape=canvas)

    def refine() -> None:
        latents = empty(poses, channels, height, width)
        run(parts["refining"], latents, shape=latents.shape[1:])

    def predict() -> None:
        dim = parts["prior"].config.embedding_dim
        cond = PriorConditioning(empty(poses, dim), empty(poses, 1, 36), empty(poses, 1, 36))
        parts["prior"](empty(poses, dim), times, cond)

    def encode(name: str) -> Callable[[], object]:
        size = getattr(preset, name).picture_size
        return lambda: parts[name](empty(1, 3, size, size))

    canvas = (1, 3, preset.height, 2 * preset.width)
    every: dict[str, tuple[str, Callable[[], object]]] = {
        "patch encoder": ("patch_encoder", encode("patch_encoder")),
        "encode the canvas": ("autoencoder", lambda: autoencoder.encode(empty(*canvas))),
        "inpainting": ("inpainting", inpaint),
        "decode the canvas": (
            "autoencoder",
            lambda: autoencoder.decode(empty(poses, channels, height, 2 * width)),
        ),
        "refining": ("refining", refine),
    }
    if "prior" in parts:
        every["global encoder"] = ("global_encoder", encode("global_encoder"))
        every["prior"] = ("prior", predict)
    return {name: work for name, work in every.items() if work[0] in parts}


def account(preset: Preset, dtype: torch.dtype, poses: int) -> dict[str, Any]:
    """GiB: each pass alone, and beside what is resident; the largest of both."""
    parts = {name: part.to(dtype) for name, part in random_components(preset, META).items()}
    resident = sum(bytes_of(parts[name]) for name in RESIDENT if name in parts)
    rows: dict[str, dict[str, float]] = {}
    for name, (part, work) in passes(preset, parts, dtype, poses).items():
        weights, activations = bytes_of(parts[part]), peak_of(work)
        others = resident - weights if part in RESIDENT else resident
        row = {"weights": weights, "activations": activations}
        row |= {"one at a time": weights + activations}
        row |= {"UNets resident": others + weights + activations}
        rows[name] = {column: value / GIB for column, value in row.items()}
    sums = ("one at a time", "UNets resident")
    return {"rows": rows, "peak GiB": {key: max(row[key] for row in rows.values()) for key in sums}}


def main(arguments: list[str] | None = None) -> int:
    """Print a table; with --json write the figures too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="published")
    parser.add_argument("--size", type=parse_size, default=(512, 512), help="HEIGHTxWIDTH")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--poses", type=COUNT.parse, default=1, help="rows that go through at once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    height, width = options.size
    preset = replace(find_preset(options.preset), height=height, width=width)
    figures = account(preset, getattr(torch, options.dtype), options.poses)
    about = {"preset": preset.name, "size": f"{height}x{width}", "dtype": options.dtype}
    about |= {"poses": options.poses}
    lines = [f"GiB, {', '.join(map(str, about.values()))} at once", ""]
    lines[1] += " " * 20 + "".join(f"{column:>16}" for column in figures["rows"]["inpainting"])
    for name, row in figures["rows"].items():
        lines.append(f"{name:20}" + "".join(f"{value:16.2f}" for value in row.values()))
    lines.append(
        f"{'peak':52}" + "".join(f"{value:16.2f}" for value in figures["peak GiB"].values())
    )
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json is not None:
        write_text(options.json, json.dumps({**about, **figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
