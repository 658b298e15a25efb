"""Students of the test preset's networks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pcdm_core.checkpoints import load_component
from training.config import StageRun, StudentRun
from training.data.in_memory import CoarsePictures, People
from training.data.pairs import ordered_pairs
from training.distillation.lora import LowRank
from training.distillation.stages import Distillation, StudentInpainting, StudentRefining
from training.stages import Frozen

RUN = StageRun(steps=4, batch_size=4, learning_rate=3e-3, warmup_steps=0, ema_decay=None)
SETTINGS = StudentRun(steps=4, teacher_steps=2, rank=4, guidance_scale=2.0)
STAGES = pytest.mark.parametrize("name", ["inpainting", "refining"])


def stage_of(name: str, teacher: Path, people: People) -> tuple[Any, Tensor]:
    parts = {n: load_component(teacher, n) for n in ("autoencoder", "global_encoder")}  # type: ignore[arg-type]
    patch = load_component(teacher, "patch_encoder").requires_grad_(False)
    frozen = Frozen(**parts, patch_encoder=patch)
    model = LowRank(load_component(teacher, name), SETTINGS.rank)  # type: ignore[arg-type]
    base: Any = model.base
    distillation = Distillation(SETTINGS, base.config.schedule, 2.0)
    people = people.with_embeds(parts["global_encoder"])
    pairs = ordered_pairs(people.identities)[:8]
    if name == "inpainting":
        return StudentInpainting(model, frozen, people, RUN, 0, distillation), pairs
    coarse = CoarsePictures(people.pictures[pairs[:, 1]], pairs)
    rows = torch.cat([pairs, torch.arange(len(pairs))[:, None]], dim=1)
    return StudentRefining(model, frozen, people, coarse, RUN, 0, distillation), rows
