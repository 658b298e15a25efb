"""Stage 2: the person of the source in the target pose, beside the source on one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.config import InpaintingConfig
from ..pcdm_core.images import Fit
from ..pcdm_core.inputs import FittedPose, check_rows, fit_rows, note_poses
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.stages import condition_inpainting
from .checks import check_embedding, check_encoders
from .convert import conditioning_of, image_of, latent_of, mask_of, target_of
from .newer import search_aliases
from .notes import note_example, tell
from .samplers import run_sampler
from .settings import sampling_inputs, stage_settings
from .sizes import (
    check_size,
    every,
    note_small_weights,
    pictures_input,
    size_inputs,
    sized,
)
from .source import source_of
from .stage_model import stage_model
from .types import (
    EmbeddingSocket,
    EncodersSocket,
    LoadedEncoders,
    PoseSocket,
    TargetEmbedding,
)
from .widgets import checked

CATEGORY = "PCDM"


@dataclass(frozen=True)
class StageInputs:
    """What the stock samplers take, and how to come back from it."""

    positive: Any
    negative: Any
    latent: dict[str, Any]
    fit: Fit
    picture: Tensor  # [S, 3, H, W], the fitted source
    target_pose: Keypoints | None = None  # a row for each picture, in the frame of the source
    fitted_pose: FittedPose | None = None  # the same in the frame of `picture`
    notes: Sequence[str] = ()


@torch.no_grad()
def prepare(
    model: Any,
    encoders: LoadedEncoders,
    source: Tensor,
    source_pose: Keypoints,
    target_pose: Keypoints,
    target_embedding: TargetEmbedding | None,
    pictures: int,
) -> StageInputs:
    """Conditioning and an empty LATENT [B, C, h, 2w] for some pictures of each target pose."""
    inner = stage_model(model, InpaintingConfig)
    preset = inner.preset
    check_encoders(preset, encoders)
    check_embedding(preset, target_embedding, pictures)
    person = source_of(encoders, source, preset)
    fitted_source, fitted_target, rows, noises = fit_rows(
        source_pose, target_pose, person.fit, sources=len(source), pictures=pictures
    )
    batch = len(rows)
    canvas = inner.process_latent_in(every(person.canvas_latents, rows))
    embeds = None if target_embedding is None else target_embedding.embeds
    if embeds is not None:
        check_rows("target embeddings", len(embeds), batch)
    core, device = inner.conditioner.load(), inner.conditioner.device
    cond = condition_inpainting(
        core,
        every(person.tokens, rows).to(device, torch.float32),
        canvas.to(device, torch.float32),
        fitted_source,
        fitted_target,
        None if embeds is None else embeds.to(device),
    )
    return StageInputs(
        conditioning_of(cond.expand(batch)),
        conditioning_of(core.unconditional(cond).expand(batch)),
        latent_of(torch.zeros(batch, *canvas.shape[1:]), noises),
        person.fit,
        every(person.picture, rows),
        target_pose.select(rows),
        fitted_target,
        note_poses(preset, preset.inpainting.draws_hands, person.fit, source_pose, target_pose),
    )


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="From PCDM Load Inpainting Model."),
        EncodersSocket.Input(
            "encoders", tooltip="From PCDM Load Encoders, with the same set of weights."
        ),
        io.Image.Input(
            "source", tooltip="The picture of the person. One for all poses, or one for each."
        ),
        PoseSocket.Input("source_pose", tooltip="The person's pose in the source picture."),
        PoseSocket.Input("target_pose", tooltip="The new pose, or several."),
        EmbeddingSocket.Input(
            "target_embedding",
            optional=True,
            tooltip="From PCDM Predict Target Embedding. All weights need it but the simplified "
            "ones, which take none.",
        ),
    ]


class PCDMInpaintingConditioning(io.ComfyNode):
    """CONDITIONING and LATENT for the stock samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMInpaintingConditioning",
            display_name="PCDM Inpainting Conditioning",
            category=CATEGORY,
            description="Stage 2 with ComfyUI's own samplers: connect the same MODEL, "
            "positive, negative and latent to a KSampler, then VAE Decode and "
            "PCDM Crop Target.",
            **search_aliases("stage 2, pose transfer, ksampler", "姿势迁移"),
            inputs=[*_inputs(), pictures_input()],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Conditioning.Output(
                    "positive",
                    display_name="positive",
                    tooltip="Connect to positive of the sampler.",
                ),
                io.Conditioning.Output(
                    "negative",
                    display_name="negative",
                    tooltip="Connect to negative of the sampler. It is all zeros, as published.",
                ),
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip="Connect to latent_image of the sampler. An empty canvas for source "
                    "and target side by side.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        encoders: LoadedEncoders,
        source: Tensor,
        source_pose: Keypoints,
        target_pose: Keypoints,
        pictures: int,
        target_embedding: TargetEmbedding | None = None,
    ) -> io.NodeOutput:
        inputs = prepare(
            model, encoders, source, source_pose, target_pose, target_embedding, pictures
        )
        fact = note_small_weights(model.model.preset, inputs.fit)
        ui = tell(cls, *inputs.notes, *note_example(cls), fact=fact)
        return io.NodeOutput(inputs.positive, inputs.negative, inputs.latent, ui=ui)


class PCDMInpaintingSampler(io.ComfyNode):
    """Stage 2 in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMInpaintingSampler",
            display_name="PCDM Inpainting Sampler",
            category=CATEGORY,
            description="Stage 2: draws the person of the source picture in the new pose. "
            "Conditioning, sampling, decoding and cropping in one node.",
            **search_aliases(
                "stage 2, pose transfer, change pose, reference pose, human, body, "
                "character, person image synthesis",
                "姿势迁移, 换姿势, 动作迁移, 人物, 角色",
            ),
            inputs=[
                *_inputs(),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip="The latent of an earlier run to start from, for denoise below 1 or "
                    "with a noise mask. Without it, a denoise below 1 starts from the "
                    "source picture.",
                ),
                *sampling_inputs(),
                pictures_input(),
                *size_inputs("Do not change it if a refining stage follows."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output(
                    "image",
                    display_name="image",
                    tooltip="The coarse pictures, pose by pose. Connect to coarse of PCDM "
                    "Refining Sampler.",
                ),
                io.Latent.Output(
                    "latent", display_name="latent", tooltip="The latent of the whole canvas."
                ),
                io.Image.Output(
                    "canvas", display_name="canvas", tooltip="Source and target side by side."
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="The area of the body in the drawn picture, for compositing.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        encoders: LoadedEncoders,
        source: Tensor,
        source_pose: Keypoints,
        target_pose: Keypoints,
        restore_size: bool,
        pictures: int,
        width: int,
        height: int,
        target_embedding: TargetEmbedding | None = None,
        start: dict[str, Any] | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        size = {"width": width, "height": height, "restore_size": restore_size}
        check_size(**size)
        inputs = prepare(
            model, encoders, source, source_pose, target_pose, target_embedding, pictures
        )
        settings = stage_settings(model.model, sampling)
        notes = (*inputs.notes, *note_example(cls), settings.warning)
        facts = (settings.fact, note_small_weights(model.model.preset, inputs.fit, **size))
        ui = tell(cls, *notes, fact=" ".join(filter(None, facts)))
        latent = dict(inputs.latent)
        if start is not None or settings.values["denoise"] < 1.0:
            latent["samples"] = _start(encoders, inputs, start)
            latent["noise_mask"] = None if start is None else start.get("noise_mask")
        samples = run_sampler(model, inputs.positive, inputs.negative, latent, **settings.values)
        canvas = encoders.vae.decode(samples)
        picture, area = sized(
            target_of(canvas),
            inputs.target_pose if restore_size else inputs.fitted_pose,
            inputs.fit,
            model.model.preset,
            **size,
        )
        latent = {**inputs.latent, "samples": samples}
        return io.NodeOutput(image_of(picture), latent, canvas, mask_of(area), ui=ui)


def _start(encoders: LoadedEncoders, inputs: StageInputs, start: dict[str, Any] | None) -> Tensor:
    empty = inputs.latent["samples"]
    if start is None:
        both = torch.cat([inputs.picture, inputs.picture], dim=-1)
        return encoders.vae.encode(image_of(both)).expand(len(empty), -1, -1, -1)
    samples = start["samples"]
    if samples.shape[1:] != empty.shape[1:]:
        raise ValueError(
            f"start is {list(samples.shape)}, but this canvas has latents {list(empty.shape)}. "
            f"Connect the latent output of another PCDM inpainting run."
        )
    check_rows("start latents", len(samples), len(empty))
    return samples.expand(len(empty), -1, -1, -1)


class PCDMCropTarget(io.ComfyNode):
    """The target out of a canvas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMCropTarget",
            display_name="PCDM Crop Target",
            category=CATEGORY,
            description="Cuts the person in the new pose out of a decoded canvas: its right half.",
            **search_aliases("split canvas, right half", "裁剪"),
            inputs=[
                io.Image.Input(
                    "canvas", tooltip="The picture from VAE Decode: source and target side by side."
                )
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The person in the new pose."
                )
            ],
        )

    @classmethod
    def execute(cls, canvas: Tensor) -> io.NodeOutput:
        return io.NodeOutput(image_of(target_of(canvas)))
