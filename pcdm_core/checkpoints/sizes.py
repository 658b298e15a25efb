"""What to say of a known kind of network at a size that no preset has."""

from __future__ import annotations

from collections.abc import Mapping

from ..presets import PRESETS
from .detect import facts_of
from .signatures import Component, Facts

# The fact that tells the members of a family apart, and their names by its value.
FAMILIES: Mapping[Component, tuple[str, Mapping[int, str]]] = {
    "patch_encoder": (
        "hidden_size",
        {384: "DINOv2-small", 768: "DINOv2-base", 1024: "DINOv2-large", 1536: "DINOv2-giant"},
    ),
    "global_encoder": (
        "hidden_size",
        {
            768: "CLIP ViT-B",
            1024: "CLIP ViT-L",
            1280: "CLIP ViT-H",
            1408: "CLIP ViT-g",
            1664: "CLIP ViT-bigG",
        },
    ),
    "autoencoder": (
        "latent_channels",
        {4: "a VAE of Stable Diffusion 1 or 2", 16: "a VAE of Stable Diffusion 3 or FLUX"},
    ),
}


def other_size(component: Component, facts: Facts) -> str:
    """A sentence: which network this is, and which the published presets need, with both sizes."""
    config = getattr(PRESETS["published"], component)
    if component == "inpainting" and facts.get("embedding_dim") is None:
        config = PRESETS["simplified"].inpainting
    expected = facts_of(config, facts)
    different = [name for name in sorted(facts) if expected[name] != facts[name]]
    return (
        f"It is {_title(component, facts, different)}, the published presets need "
        f"{_title(component, expected, different)}. `pcdm models list` has the files that fit."
    )


def _title(component: Component, facts: Facts, names: list[str]) -> str:
    words = ", ".join(f"{name} {facts[name]}" for name in names)
    fact, members = FAMILIES.get(component, ("", {}))
    value = facts.get(fact)
    member = members.get(value) if isinstance(value, int) else None
    return f"{member} ({words})" if member else f"one with {words}"
