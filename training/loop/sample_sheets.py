"""Sample sheets: what a stage makes of a few fixed pairs in the middle of its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pcdm_core.images import to_uint8
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler

from ..stages import InpaintingStage, RefiningStage, StageModule
from . import sample_rng

SHEET, STEPS = 32, 33  # streams of `sample_rng`, so that every sheet has the same noise


@torch.no_grad()
def draw_sheet(
    stage: StageModule, pairs: Tensor, *, steps: int = 20, guidance_scale: float = 2.0
) -> np.ndarray | None:
    """A row a pair: the truth, then what the stage samples; None for stages without pictures.

    Args:
        pairs: rows [B, k] on the CPU.

    Returns:
        uint8 [H, W, 3]. Stage 2 shows canvases source | target, stage 3 the coarse picture first.
    """
    if not isinstance(stage, (InpaintingStage, RefiningStage)):
        return None
    samples = torch.arange(len(pairs), device=next(stage.parameters()).device)
    run = stage.run
    # Nothing is dropped or blurred here: the sheet shows sampling, not training.
    stage.run = replace(run, drop_tokens=0.0, drop_embeds=0.0, drop_coarse=0.0, embeds_noise=0.0)
    was_training = stage.training
    stage.eval()
    try:
        features = stage.features
        batch = stage.prepare(samples, features.place(pairs, features.read(pairs)))
        cond = stage.condition(batch)
        columns = [batch[name] for name in ("coarse_latents", "x0") if name in batch]
        shape, step_noise = tuple(batch["x0"].shape[1:]), None
        if stage.schedule.ancestral:
            step_noise = sample_rng.step_normal(stage.seed, STEPS, samples, shape, steps)
        x0 = sample(
            stage.model,
            make_scheduler(stage.schedule),
            sample_rng.normal(stage.seed, SHEET, samples, shape),
            cond,
            stage.model.unconditional(cond),
            step_noise=step_noise,
            steps=steps,
            guidance_scale=guidance_scale,
        )
        decode = stage.frozen.autoencoder.decode
        pictures = [to_uint8(decode(latents)) for latents in (*columns, x0)]
    finally:
        stage.run = run
        stage.train(was_training)
    return np.concatenate([np.concatenate(row, axis=1) for row in zip(*pictures, strict=True)])
