"""Single passes of UNets with the group count of the real ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from pcdm_core.checkpoints import build
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import InpaintingConfig, RefiningConfig

from . import configs
from .fixtures import BadFolderError, Fixture, drawn_state, load_drawn, rule_hash


@torch.no_grad()
def compare_native(fixture: Fixture) -> None:
    """Weights are made by the rule and checked by the hash of the UNet's."""
    tensors, tolerance = fixture.tensors, fixture.tolerance("forward")
    for name, stated in fixture.stated("models").items():
        component, layout, config, modules = stage_of(fixture, name, stated["config"])
        blank = build(component, config, "meta")
        seeds = dict.fromkeys(("unet", *modules), stated["seed"])
        state = drawn_state(blank, component, layout, seeds)
        count = sum(key.startswith("unet.") for key in state)
        same = rule_hash(state, "unet.") == stated["sha256"] and count == stated["keys"]
        fixture.add(f"{name}: weights made again", 0.0 if same else math.inf, 0.0)
        model = load_drawn(component, state, config)
        for case in stated["cases"]:
            canvas = tensors[f"{name}.{case}.sample"]
            latent = config.latent_channels
            cond = Conditioning(tensors[f"{name}.{case}.encoder_hidden_states"], canvas[:, latent:])
            if component == "inpainting":
                cond = replace(
                    cond,
                    pose=tensors[f"{name}.{case}.pose_features"],
                    embed=tensors[f"{name}.{case}.class_labels"][:, 0],
                )
            timesteps = tensors[f"{name}.{case}.timestep"].expand(len(canvas))
            out = model(canvas[:, :latent], timesteps, cond)
            fixture.compare(f"{name}.{case}.out", out, tolerance)


def stage_of(
    fixture: Fixture, name: str, stated: dict[str, Any]
) -> tuple[Component, str, InpaintingConfig | RefiningConfig, tuple[str, ...]]:
    """Component, published layout, configuration, and modules beside the UNet."""
    unet, latent = configs.unet(stated), stated["out_channels"]
    if name == "inpainting":
        embedding_dim = stated["projection_class_embeddings_input_dim"]
        config = InpaintingConfig(unet, latent_channels=latent, embedding_dim=embedding_dim)
        return name, "upstream three-stage", config, ("pose_proj", "image_proj_model_p")
    if name == "refining":
        config = RefiningConfig(unet, latent_channels=latent)
        return name, "upstream", config, ("image_proj_model_p",)
    raise BadFolderError(f"{fixture.path}: no stage with a UNet is called {name!r}.")
