"""Stage 1: what the target picture looks like to the image encoder."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.inputs import fit_rows
from ..pcdm_core.pose.canvas import canvas_notes
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.ranges import GUIDANCE_SCALE, SEED
from ..pcdm_core.stages import predict_embedding
from .checks import check_encoders
from .newer import ADVANCED, search_aliases
from .notes import note_example, tell
from .settings import own_or_set, steps_input
from .sizes import every, pictures_input
from .source import source_of
from .types import (
    EmbeddingSocket,
    EncodersSocket,
    LoadedEncoders,
    LoadedPrior,
    PoseSocket,
    PriorSocket,
    TargetEmbedding,
)
from .widgets import checked

CATEGORY = "PCDM"


class PCDMPredictTargetEmbedding(io.ComfyNode):
    """PCDM_EMBEDDING of the person in the target poses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPredictTargetEmbedding",
            display_name="PCDM Predict Target Embedding",
            category=CATEGORY,
            description="Stage 1: predicts what the person will look like in the new pose. "
            "Stage 2 is guided by the prediction.",
            **search_aliases("stage 1, prior, pose transfer", "姿势迁移"),
            inputs=[
                PriorSocket.Input("prior", tooltip="From PCDM Load Prior."),
                EncodersSocket.Input(
                    "encoders", tooltip="From PCDM Load Encoders, with the same set of weights."
                ),
                io.Image.Input(
                    "source",
                    tooltip="The picture of the person. One for all poses, or one for each.",
                ),
                PoseSocket.Input("source_pose", tooltip="The person's pose in the source picture."),
                PoseSocket.Input("target_pose", tooltip="The new pose, or several."),
                io.Int.Input(
                    "seed",
                    default=0,
                    **SEED.bounds,
                    control_after_generate=True,
                    tooltip="Changes the prediction. The shipped weights ignore it.",
                ),
                steps_input(),
                io.Float.Input(
                    "guidance_scale",
                    default=0.0,
                    **GUIDANCE_SCALE.bounds,
                    step=0.1,
                    round=0.01,
                    **ADVANCED,
                    tooltip="How strongly the prediction follows picture and poses. 0 and 1 both "
                    "mean no guidance; 0 is as published.",
                ),
                pictures_input(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                EmbeddingSocket.Output(
                    "target_embedding",
                    display_name="target_embedding",
                    tooltip="Connect to PCDM Inpainting Sampler or PCDM Inpainting Conditioning.",
                )
            ],
        )

    @classmethod
    @checked
    @torch.no_grad()
    def execute(
        cls,
        prior: LoadedPrior,
        encoders: LoadedEncoders,
        source: Tensor,
        source_pose: Keypoints,
        target_pose: Keypoints,
        seed: int,
        steps: int,
        guidance_scale: float,
        pictures: int,
    ) -> io.NodeOutput:
        check_encoders(prior.preset, encoders, latents=False)
        steps = max(int(own_or_set("steps", steps, prior.preset.steps)), 2)
        person = source_of(encoders, source, prior.preset)
        notes = canvas_notes(person.fit.source, source_pose, target_pose)
        ui = tell(cls, *notes, *note_example(cls))
        source_pose, target_pose, rows, noises = fit_rows(
            source_pose, target_pose, person.fit, sources=len(source), pictures=pictures
        )
        embeds = every(person.embeds, rows).expand(len(rows), -1)
        module, device = prior.resident.load(), prior.resident.device
        predicted = predict_embedding(
            module,
            embeds.to(device, next(module.parameters()).dtype),
            source_pose,
            target_pose,
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            batch_index=noises,
            callback=_progress(steps),
        )
        result = predicted.float().to(comfy.model_management.intermediate_device())
        return io.NodeOutput(TargetEmbedding(prior.preset, result, pictures), ui=ui)


def _progress(steps: int) -> Any:
    bar = comfy.utils.ProgressBar(steps)

    def step(index: int, _: Tensor) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(index + 1, steps)

    return step
