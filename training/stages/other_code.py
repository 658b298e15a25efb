"""Weights that were trained on one autoencoder's latents, as a start for training on another's.

Latents of two codes lie on the same grid where both cut a picture into as many squares: 4x4 pixels
of 96x64, or 8x8 of 192x128. A linear map then takes most of one code's latents to the other's, and
the first and the last convolution of a network take it in; what lies between them stays. Pose
features have no such map: the new pose encoder is taught to give what the old one gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pcdm_core.images import from_planes, from_uint8
from pcdm_core.models import InpaintingModel
from pcdm_core.pose.render import draw_people, people_of
from pcdm_core.vae import Autoencoder

from ..data.in_memory import People

POSE_STEPS = 300
POSE_BATCH = 16
POSE_LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class CodeChange:
    """Linear maps between the latents of two codes, by least squares on pictures."""

    to_old: Tensor  # [C_old, C_new]; both codes have about zero mean, so no constant
    to_new: Tensor  # [C_new, C_old]
    constant: Tensor  # [C_new], added to the latter


@torch.no_grad()
def fit_change(old: Autoencoder, new: Autoencoder, pixels: Tensor) -> CodeChange:
    """The change between two codes, measured on pictures [N, 3, H, W] in [-1, 1] of the new's size.

    Raises:
        ValueError: the new code's squares are smaller than the old's, or no whole multiple of them.
    """
    ratio, rest = divmod(new.config.downscale, old.config.downscale)
    if rest or not ratio:
        raise ValueError(
            f"Weights that know latents of {old.config.downscale} pixels cannot start on latents "
            f"of {new.config.downscale}: that is no multiple."
        )
    small = functional.avg_pool2d(pixels, ratio)
    olds, news = (
        code.encode(pictures).movedim(1, -1).flatten(0, 2).double()
        for code, pictures in ((old, small), (new, pixels))
    )
    with_ones = functional.pad(olds, (0, 1), value=1.0)
    to_old = torch.linalg.lstsq(news, olds).solution.T
    affine = torch.linalg.lstsq(with_ones, news).solution.T
    return CodeChange(to_old.float(), affine[:, :-1].float(), affine[:, -1].float())


def onto_code(state: dict[str, Tensor], change: CodeChange) -> dict[str, Tensor]:
    """A stage's weights whose first and last convolution work on the other code's latents.

    The first convolution sees noisy latents, masks, and the latents of a picture, in this order.
    """
    channels = change.to_old.shape[0]
    weight, last = state["unet.conv_in.weight"], state["unet.conv_out.weight"]
    noisy, masks, picture = weight.tensor_split((channels, weight.shape[1] - channels), dim=1)
    moved = [torch.einsum("oihw,ij->ojhw", part, change.to_old) for part in (noisy, picture)]
    bias = change.to_new @ state["unet.conv_out.bias"] + change.constant
    return {
        **state,
        "unet.conv_in.weight": torch.cat([moved[0], masks, moved[1]], dim=1),
        "unet.conv_out.weight": torch.einsum("ij,jchw->ichw", change.to_new, last),
        "unet.conv_out.bias": bias,
    }


def teach_poses(
    model: InpaintingModel, old: InpaintingModel, people: People, seed: int, steps: int = POSE_STEPS
) -> None:
    """Train the pose encoder of `model` to give the features that `old` gives of the same poses."""
    encoder, teacher = model.pose_encoder, old.pose_encoder.to(people.xy.device).eval()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=POSE_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    encoder.to(people.xy.device).train()
    for rows in _batches(len(people), seed, steps):
        with torch.no_grad():
            expected = teacher(_drawn_for(old, model, people, rows))
        loss = functional.mse_loss(encoder(from_planes(people.skeletons[rows])), expected)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    encoder.cpu()


def _batches(count: int, seed: int, steps: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield torch.randint(count, (POSE_BATCH,), generator=generator)


def _drawn_for(old: InpaintingModel, new: InpaintingModel, people: People, rows: Tensor) -> Tensor:
    """The poses of some rows as the old encoder knows them: [B, 3, h, w] in [-1, 1]."""
    levels = len(new.config.pose_channels) - len(old.config.pose_channels)
    height, width = (side // 2**levels for side in people.skeletons.shape[-2:])
    reduction = old.config.skeleton_reduction
    poses = people_of(people.keypoints(rows))
    drawn = np.stack([draw_people([pose], height, width, reduction) for pose in poses])
    return from_uint8(drawn).to(people.xy.device)
