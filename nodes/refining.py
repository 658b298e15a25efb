"""Stage 3: texture of the source for the coarse picture."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.config import RefiningConfig
from ..pcdm_core.finite import check_finite
from ..pcdm_core.images import fit as fit_picture
from ..pcdm_core.inputs import repeat_rows
from ..pcdm_core.pose.keypoints import Keypoints
from .checks import check_encoders
from .convert import conditioning_of, image_of, latent_of, mask_of, picture_of
from .inpainting import StageInputs
from .newer import search_aliases
from .notes import note_pictures, tell
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
from .source import latents_of, source_of
from .stage_model import stage_model
from .types import EncodersSocket, LoadedEncoders, PoseSocket
from .widgets import checked

CATEGORY = "PCDM"


@torch.no_grad()
def prepare(
    model: Any, encoders: LoadedEncoders, source: Tensor, coarse: Tensor, pictures: int
) -> tuple[StageInputs, Tensor]:
    """Conditioning, an empty LATENT [B, C, h, w], and the coarse pictures' latents."""
    inner = stage_model(model, RefiningConfig)
    preset, batch = inner.preset, len(coarse)
    check_encoders(preset, encoders)
    if batch % pictures:
        raise ValueError(
            f"There are {batch} coarse pictures, which are not {pictures} of each pose. Set "
            f"pictures to the number that the inpainting stage has."
        )
    if len(source) not in (1, batch // pictures, batch):
        raise ValueError(
            f"There are {len(source)} source pictures for {batch} coarse pictures. Give one, or as "
            f"many as poses."
        )
    rows, noises = repeat_rows(batch // pictures, pictures)
    person = source_of(encoders, source, preset)
    rows = list(range(batch)) if len(source) == batch else rows
    tokens = every(person.tokens, rows)
    draft, _ = fit_picture(picture_of(coarse), preset.height, preset.width, preset.fit)
    latents = inner.process_latent_in(latents_of(encoders.vae, draft))
    core, device = inner.conditioner.load(), inner.conditioner.device
    cond = core.condition(tokens.to(device, torch.float32), latents.to(device, torch.float32))
    inputs = StageInputs(
        conditioning_of(cond.expand(batch)),
        conditioning_of(core.unconditional(cond).expand(batch)),
        latent_of(torch.zeros_like(latents), noises),
        person.fit,
        every(person.picture, rows),
    )
    return inputs, inner.process_latent_out(latents)


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="From PCDM Load Refining Model."),
        EncodersSocket.Input(
            "encoders", tooltip="From PCDM Load Encoders, with the same set of weights."
        ),
        io.Image.Input("source", tooltip="The picture of the person; the texture comes from it."),
        io.Image.Input("coarse", tooltip="The pictures from the inpainting stage."),
    ]


class PCDMRefiningConditioning(io.ComfyNode):
    """CONDITIONING and LATENT for the stock samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMRefiningConditioning",
            display_name="PCDM Refining Conditioning",
            category=CATEGORY,
            description="Stage 3 with ComfyUI's own samplers: connect the same MODEL, "
            "positive, negative and latent to a KSampler, then VAE Decode.",
            **search_aliases("stage 3, pose transfer, ksampler", "姿势迁移"),
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
                    tooltip="Connect to latent_image of the sampler. The latent of the coarse "
                    "pictures; with denoise 1 they are drawn afresh.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Any, encoders: LoadedEncoders, source: Tensor, coarse: Tensor, pictures: int
    ) -> io.NodeOutput:
        inputs, draft = prepare(model, encoders, source, coarse, pictures)
        latent = {**inputs.latent, "samples": draft}
        fact = note_small_weights(model.model.preset, inputs.fit)
        ui = tell(cls, note_pictures(cls, pictures, len(coarse)), fact=fact)
        return io.NodeOutput(inputs.positive, inputs.negative, latent, ui=ui)


class PCDMRefiningSampler(io.ComfyNode):
    """Stage 3 in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMRefiningSampler",
            display_name="PCDM Refining Sampler",
            category=CATEGORY,
            description="Stage 3: redraws the coarse pictures with the texture of the source "
            "picture. Conditioning, sampling and decoding in one node.",
            **search_aliases(
                "stage 3, pose transfer, refine person, restore texture", "姿势迁移, 精修, 纹理"
            ),
            inputs=[
                *_inputs(),
                PoseSocket.Input(
                    "target_pose",
                    optional=True,
                    tooltip="The poses that were drawn. Only the mask needs them.",
                ),
                *sampling_inputs(),
                pictures_input(),
                *size_inputs(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The refined pictures."),
                io.Latent.Output(
                    "latent", display_name="latent", tooltip="The latent of the refined pictures."
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="The area of the body in the pictures, for compositing. Without "
                    "target_pose it covers everything.",
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
        coarse: Tensor,
        restore_size: bool,
        pictures: int,
        width: int,
        height: int,
        target_pose: Keypoints | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        size = {"width": width, "height": height, "restore_size": restore_size}
        check_size(**size)
        inputs, draft = prepare(model, encoders, source, coarse, pictures)
        settings = stage_settings(model.model, sampling)
        note = note_pictures(cls, pictures, len(coarse))
        facts = (settings.fact, note_small_weights(model.model.preset, inputs.fit, **size))
        ui = tell(cls, note, settings.warning, fact=" ".join(filter(None, facts)))
        if target_pose is not None:
            target_pose = _for_pictures(target_pose, len(coarse), pictures)
        latent = dict(inputs.latent)
        if settings.values["denoise"] < 1.0:
            latent["samples"] = draft
        samples = run_sampler(model, inputs.positive, inputs.negative, latent, **settings.values)
        picture, area = sized(
            picture_of(check_finite(encoders.vae.decode(samples), "The refining stage's picture")),
            target_pose,
            inputs.fit,
            model.model.preset,
            **size,
        )
        latent = {**inputs.latent, "samples": samples}
        return io.NodeOutput(image_of(picture), latent, mask_of(area), ui=ui)


def _for_pictures(pose: Keypoints, batch: int, pictures: int) -> Keypoints:
    """One row for each coarse picture."""
    poses = batch // pictures
    if len(pose) not in (1, poses):
        raise ValueError(
            f"There are {len(pose)} target poses for {batch} coarse pictures. Connect the poses of "
            f"the inpainting stage, or none."
        )
    return pose.expand(poses).select(repeat_rows(poses, pictures)[0])
