"""Pipelines in a half type with some of their parts in fp32, to see which parts need it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pcdm_core.config import Preset
from pcdm_core.inputs import SourceFeatures
from pcdm_core.pipeline import PCDMsPipeline

from .inputs import Components


class HalfProducts(TorchDispatchMode):
    """Products of halves with sums in fp32, rounded once: what GPUs compute, on any CPU.

    A CPU without half arithmetic has these operators too, 15 times slower than fp32's.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, named = args, kwargs or {}
        if func.overloadpacket.__name__ not in ("convolution", "linear", "addmm", "mm", "bmm"):
            return func(*given, **named)
        if not any(isinstance(x, Tensor) and x.dtype == torch.float16 for x in given):
            return func(*given, **named)
        wide = tree_map_only(Tensor, lambda x: x.float(), given)
        return tree_map_only(Tensor, lambda x: x.half(), func(*wide, **named))


def keep_float32(module: nn.Module, out: torch.dtype | None) -> None:
    """The module computes in fp32 whatever comes in, and gives `out` (None: fp32)."""
    module.float()
    module.register_forward_pre_hook(
        lambda _, given: tree_map_only(Tensor, lambda x: x.float(), given)
    )
    if out is not None:
        module.register_forward_hook(lambda _, __, result: result.to(out))


class InType(nn.Module):
    """An autoencoder that computes in a type of its own; what it decodes stays in that type."""

    def __init__(self, inner: Any, dtype: torch.dtype, outside: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype, self.outside = inner.to(dtype), dtype, outside

    def encode(self, pixels: Tensor) -> Tensor:
        """As the autoencoder's."""
        return self.inner.encode(pixels.to(self.dtype)).to(self.outside)

    def decode(self, latents: Tensor) -> Tensor:
        """As the autoencoder's."""
        return self.inner.decode(latents.to(self.dtype))


def norms(parts: Components, dtype: torch.dtype) -> None:
    """Group and layer norms in fp32; what they give is in the half type again."""
    for part in parts.values():
        for module in part.modules():
            if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
                keep_float32(module, dtype)


def time_embeddings(parts: Components, dtype: torch.dtype) -> None:
    """The embedding of the time and of the target's class, and their projections in the blocks."""
    for module in _named(parts, ("time_embedding", "class_embedding")):
        is_prior = module is getattr(getattr(parts.get("prior"), "transformer", None),
                                     "time_embedding", None)  # fmt: skip
        keep_float32(module, dtype if is_prior else None)
    for module in _named(parts, ("time_emb_proj",)):
        keep_float32(module, dtype)


def autoencoder(parts: Components, dtype: torch.dtype) -> None:
    """Both directions in fp32."""
    parts["autoencoder"] = InType(parts["autoencoder"], torch.float32, dtype)


def encoders(parts: Components, dtype: torch.dtype) -> None:
    """Both image encoders in fp32."""
    for name in ("patch_encoder", "global_encoder"):
        if name in parts:
            keep_float32(parts[name], dtype)
            parts[name].pixels = _wide(parts[name].pixels)


def _wide(pixels: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda picture: pixels(picture.float())


def _named(parts: Components, names: tuple[str, ...]) -> Iterator[nn.Module]:
    for part in parts.values():
        for name, module in part.named_modules():
            if name.rpartition(".")[2] in names and module is not None:
                yield module


ISLANDS: dict[str, Callable[[Components, torch.dtype], None]] = {
    "norms": norms,
    "time embedding": time_embeddings,
    "image encoders": encoders,
    "autoencoder": autoencoder,
}
"""Name to what makes it fp32 in components of a half type, in place."""


@dataclass(frozen=True)
class Stages:
    """Which pipeline does what; between them values are cast to the taker's type."""

    encoders: PCDMsPipeline
    prior: PCDMsPipeline
    inpainting: PCDMsPipeline
    refining: PCDMsPipeline


def cast(features: SourceFeatures, dtype: torch.dtype) -> SourceFeatures:
    """The same features in another type."""
    embeds = features.image_embeds
    return replace(
        features,
        patch_tokens=features.patch_tokens.to(dtype),
        image_embeds=None if embeds is None else embeds.to(dtype),
        canvas_latents=features.canvas_latents.to(dtype),
    )


def in_type(components: Components, dtype: torch.dtype) -> Components:
    """Copies of the components in a type."""
    return {name: copy.deepcopy(part).to(dtype) for name, part in components.items()}


def whole(pipeline: PCDMsPipeline) -> Stages:
    """One pipeline for everything."""
    return Stages(pipeline, pipeline, pipeline, pipeline)


def variants(preset: Preset, components: Components, dtype: torch.dtype) -> dict[str, Stages]:
    """Name to stages; `components` are in fp32.

    First everything in the half type, then each part in it alone, then everything in it but a part.
    """
    full = PCDMsPipeline(preset, **components)
    half = PCDMsPipeline(preset, **in_type(components, dtype))
    wide = in_type(components, dtype)
    autoencoder(wide, dtype)
    wide_half = PCDMsPipeline(preset, **wide)  # alone means without the autoencoder
    narrow: Components = {**components, "autoencoder": InType(
        copy.deepcopy(components["autoencoder"]), dtype, torch.float32)}  # fmt: skip
    alone = whole(full)
    found: dict[str, Stages] = {"everything": whole(half)}
    found["only image encoders"] = replace(alone, encoders=wide_half)
    if full.prior is not None:
        found["only prior"] = replace(alone, prior=half)
    found["only inpainting"] = replace(alone, inpainting=wide_half)
    if full.refining is not None:
        found["only refining"] = replace(alone, refining=wide_half)
    found["only autoencoder"] = whole(PCDMsPipeline(preset, **narrow))
    for name, island in ISLANDS.items():
        parts = in_type(components, dtype)
        island(parts, dtype)
        found[f"all but {name}"] = whole(PCDMsPipeline(preset, **parts))
    return found
