"""The ComfyUI side of the pack; only files of this folder import the host.

Nodes of one topic share a file. Beside them: `weights` and `loaders` find and load files, `managed`
and, for the UNets, `comfy_model` hand modules to ComfyUI, which decides what stays on the GPU;
`comfy_model` is also what the host samples. `convert` translates tensors
(IMAGE, MASK, LATENT, CONDITIONING), `checks` refuses what does not belong together.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from .inpainting import PCDMCropTarget, PCDMInpaintingConditioning, PCDMInpaintingSampler
from .loaders import PCDMLoadEncoders, PCDMLoadInpainting, PCDMLoadPrior, PCDMLoadRefining
from .pose import PCDMExamplePerson, PCDMPoseFromKeypoints, PCDMRenderPose
from .pose_editor import PCDMPoseEditor
from .pose_formats import PCDMPoseFromSkeleton, PCDMPoseToKeypoints
from .pose_movement import PCDMInterpolatePoses, PCDMSmoothPoses
from .pose_tools import PCDMPoseFromImage, PCDMRetargetPose
from .prior import PCDMPredictTargetEmbedding
from .refining import PCDMRefiningConditioning, PCDMRefiningSampler
from .samplers import PCDMPublishedSampler, PCDMPublishedSigmas
from .weights import register_folder


def other_copy() -> str | None:
    """The module of an earlier copy of the pack in this ComfyUI, if there is one."""
    registered = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})
    module = getattr(registered.get("PCDMLoadPrior"), "__module__", None)
    return None if module == PCDMLoadPrior.__module__ else module


class PCDMExtension(ComfyExtension):
    """What the pack offers to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The table of contents; empty where another copy of the pack came first."""
        if (other := other_copy()) is not None:
            logging.getLogger(__name__).warning(
                "PCDM: %s is a second copy of the pack and stays unused; the nodes are those of "
                "%s. Keep one of the two folders in custom_nodes.",
                Path(__file__).resolve().parents[1],
                getattr(sys.modules.get(other), "__file__", other),
            )
            return []
        return [
            PCDMLoadPrior,
            PCDMLoadInpainting,
            PCDMLoadRefining,
            PCDMLoadEncoders,
            PCDMExamplePerson,
            PCDMPoseFromKeypoints,
            PCDMPoseFromSkeleton,
            PCDMPoseToKeypoints,
            PCDMRenderPose,
            PCDMPoseFromImage,
            PCDMRetargetPose,
            PCDMInterpolatePoses,
            PCDMSmoothPoses,
            PCDMPoseEditor,
            PCDMPredictTargetEmbedding,
            PCDMInpaintingSampler,
            PCDMRefiningSampler,
            PCDMInpaintingConditioning,
            PCDMRefiningConditioning,
            PCDMCropTarget,
            PCDMPublishedSampler,
            PCDMPublishedSigmas,
        ]


async def comfy_entrypoint() -> PCDMExtension:
    """Called by ComfyUI when it loads the pack."""
    register_folder()
    return PCDMExtension()
