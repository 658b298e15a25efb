"""Which component in which layout a dictionary of tensors is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from ..presets import PRESETS
from ..quoting import one_line
from .files import CheckpointError
from .signatures import SIGNATURES, Component, Facts, Signature

# Files that people mix up with ours: the start of some key, and what such a file is.
FOREIGN: tuple[tuple[str, str], ...] = (
    ("model.diffusion_model.", "a Stable Diffusion checkpoint in its original layout"),
    ("lora_", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("down_blocks.", "a diffusers UNet or ControlNet alone"),
    ("text_model.", "a text encoder"),
    ("first_stage_model.", "an autoencoder in its original layout"),
)


def detect(state_dict: Mapping[str, Tensor], name: str = "This state dict") -> Signature:
    """Which component in which layout these tensors are.

    Args:
        name: the file, for the error.

    Raises:
        CheckpointError: none that is known; the nearest one and what it lacks are named.
    """
    return recognise(state_dict, name)[0]


def recognise(state_dict: Mapping[str, Tensor], name: str) -> tuple[Signature, Facts]:
    """As `detect`, with the facts that the shapes tell."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
    near: list[tuple[int, Signature, str]] = []
    for signature in SIGNATURES:
        facts = signature.match(shapes)
        if not isinstance(facts, str):
            return signature, facts
        near.append((sum(key in shapes for key in signature.shapes), signature, facts))
    matches, nearest, why = max(near, key=lambda entry: entry[0])
    foreign = next(
        (what for start, what in FOREIGN if any(key.startswith(start) for key in shapes)), None
    )
    if foreign is not None:
        looks = f"It looks like {foreign}."
    elif matches:
        looks = f"Nearest is {nearest.title}, but {why}."
    else:
        looks = "Its keys are those of another model."
    raise CheckpointError(
        f"{name} holds {len(shapes)} tensors of no known layout ({some(sorted(shapes))}). {looks} "
        f"Choose a PCDMs file: a prior, inpainting or refining model, or an encoder or autoencoder."
    )


def some(names: list[str], count: int = 5) -> str:
    """The first few of many names, and how many more there are."""
    rest = len(names) - count
    words = (one_line(name, 80) for name in names[:count])
    return ", ".join(words) + (f", and {rest} more" if rest > 0 else "")


def _widths(config: Any) -> tuple[int, ...]:
    return getattr(config, "unet", config).block_out_channels


# The words of `Signature.shapes` that are no field of a configuration.
_DERIVED: Mapping[str, Callable[[Any], int]] = {
    "width": lambda config: _widths(config)[0],
    "top_width": lambda config: _widths(config)[-1],
    "time": lambda config: 4 * _widths(config)[0],
    "context": lambda config: config.unet.cross_attention_dim,
    "pose": lambda config: config.pose_channels[0],
    "token_width": lambda config: config.num_heads * config.head_dim,
    "positions": lambda config: (
        1 + (getattr(config, "table_size", config.picture_size) // config.patch_size) ** 2
    ),
    "inputs": lambda config: 3 * config.picture_size**2,
    "first_width": lambda config: config.hidden_size >> (config.num_layers - 1),
    "features": lambda config: config.hidden_size * (config.picture_size >> config.num_layers) ** 2,
}


def facts_of(config: Any, words: Iterable[str]) -> Facts:
    """What `Signature.match` finds under these words in a file of this configuration."""
    return {
        word: _DERIVED[word](config) if word in _DERIVED else getattr(config, word)
        for word in words
    }


def preset_config(component: Component, facts: Facts) -> Any | None:
    """The configuration of the first preset whose files have these facts."""
    configs = (getattr(preset, component) for preset in PRESETS.values())
    return next((c for c in configs if c is not None and facts_of(c, facts) == facts), None)
