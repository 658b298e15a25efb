"""Poses from pictures, and poses on other proportions."""

from __future__ import annotations

import logging
from typing import get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.pose.canvas import canvas_notes, in_frame
from ..pcdm_core.pose.detect import Detector
from ..pcdm_core.pose.detect.batch import detect_in_each
from ..pcdm_core.pose.formats import Gaps
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.overlay import overlay
from ..pcdm_core.pose.retarget import Framing, retarget
from .cancel import cancellable, draw_each
from .convert import image_of, picture_of
from .newer import ADVANCED, search_aliases
from .notes import REPORT_TOOLTIP, show
from .pose import CATEGORY
from .types import PoseSocket
from .widgets import checked

DETECTORS: dict[str, Detector] = {
    "auto": "auto",
    "BlazePose (shipped)": "blazepose",
    "OpenPose (controlnet_aux)": "openpose",
}


class PCDMPoseFromImage(io.ComfyNode):
    """PCDM_POSE of the people in pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPoseFromImage",
            display_name="PCDM Pose from Image",
            category=CATEGORY,
            description="Finds the pose of a person in each picture. The detector comes with "
            "the pack; if the package that runs it is missing, the node says so.",
            **search_aliases(
                "openpose, dwpose, blazepose, pose detector, pose estimation, human pose, "
                "body, reference pose",
                "姿势检测, 姿态估计, 提取姿势, 参考姿势",
            ),
            inputs=[
                io.Image.Input("image", tooltip="One picture with a person in it, or several."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    default="auto",
                    tooltip="'auto' uses the shipped BlazePose, or OpenPose if only that can run. "
                    "Choose OpenPose if you need hands.",
                ),
                io.Int.Input(
                    "person",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="Which person of each picture, counted from 0; 0 is the largest. The "
                    "report lists who was found.",
                ),
                io.Image.Input(
                    "fit_to",
                    optional=True,
                    tooltip="Connect the source picture if the pose comes from another picture. "
                    "The pose is then scaled into its frame, whole and undistorted.",
                ),
                io.Combo.Input(
                    "gaps",
                    options=list(get_args(Gaps)),
                    default="refuse",
                    optional=True,
                    **ADVANCED,
                    tooltip="What to do with frames of a video in which the person is not found: "
                    "hold the pose before, interpolate to the next one, or refuse to go on.",
                ),
            ],
            outputs=[
                PoseSocket.Output(
                    "pose", display_name="pose", tooltip="One pose for each picture."
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The pictures with the poses drawn on them.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        detector: str,
        person: int,
        fit_to: Tensor | None = None,
        gaps: Gaps = "refuse",
    ) -> io.NodeOutput:
        pictures = picture_of(image)
        pose, report = detect_in_each(
            cancellable(pictures.split(1)), person=person, detector=DETECTORS[detector], gaps=gaps
        )
        logging.getLogger(__name__).info("PCDM Pose from Image: %s", report)
        preview = draw_on_each(pictures, pose)
        pose = pose if fit_to is None else in_frame(pose, tuple(fit_to.shape[1:3]))
        return io.NodeOutput(pose, image_of(preview), report, ui=show(cls, report))


class PCDMRetargetPose(io.ComfyNode):
    """PCDM_POSE on the source person's proportions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMRetargetPose",
            display_name="PCDM Retarget Pose",
            category=CATEGORY,
            description="Puts somebody else's pose on the source person's body: the person "
            "keeps their own proportions, size and place in the picture.",
            **search_aliases(
                "body proportions, fit pose, motion retargeting, character, reference pose",
                "姿势重定向, 身材比例, 体型",
            ),
            inputs=[
                PoseSocket.Input("target_pose", tooltip="The new pose, or several."),
                PoseSocket.Input("source_pose", tooltip="The person's pose in the source picture."),
                io.Image.Input(
                    "source",
                    tooltip="The picture of the person. Its shape is the frame of the new poses.",
                ),
                io.Boolean.Input(
                    "enabled",
                    default=True,
                    tooltip="Turn off to pass the poses through unchanged.",
                ),
                io.Combo.Input(
                    "framing",
                    options=["as source", "whole"],
                    default="as source",
                    tooltip="'as source' keeps the person as large as in the source picture and "
                    "leaves out what lies beyond the frame. 'whole' shrinks the pose "
                    "until every joint fits in.",
                ),
                io.Boolean.Input(
                    "one_body",
                    default=False,
                    tooltip="Turn on for the frames of a movement. All poses then share one size "
                    "and place, so that nothing flickers and a jump stays a jump.",
                ),
                io.Boolean.Input(
                    "keep_legs",
                    default=True,
                    optional=True,
                    tooltip="Gives a pose that shows no legs, as from a half-length picture, "
                    "those of the source picture. If off, the model makes them up.",
                ),
            ],
            outputs=[
                PoseSocket.Output(
                    "pose", display_name="pose", tooltip="One pose for each target pose."
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The new poses over the source picture; its own pose is grey.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        target_pose: Keypoints,
        source_pose: Keypoints,
        source: Tensor,
        enabled: bool,
        framing: Framing,
        one_body: bool,
        keep_legs: bool = True,
    ) -> io.NodeOutput:
        picture = picture_of(source[:1])
        pose, report = target_pose, "The poses are as they were: retargeting is off."
        size = tuple(picture.shape[-2:])
        if enabled:
            notes = canvas_notes(size, source_pose, target_pose)
            result = retarget(
                target_pose,
                source_pose,
                size,
                framing=framing,
                one_body=one_body,
                keep_legs=keep_legs,
            )
            pose, report = result.pose, "\n".join([result.report, *notes])
        ghost = in_frame(source_pose.select(0), size)
        preview = draw_each(lambda row: overlay(picture, [row], ghost), in_frame(pose, size))
        return io.NodeOutput(pose, image_of(preview), report, ui=show(cls, report))


def draw_on_each(pictures: Tensor, pose: Keypoints, ghost: Keypoints | None = None) -> Tensor:
    """Each pose over its picture, or over the one; `ghost` below it in grey."""
    one = len(pictures) != len(pose)
    drawings = [
        overlay(
            pictures[:1] if one else pictures[row : row + 1],
            [pose.select(row)],
            None if ghost is None else ghost.select(row),
        )
        for row in cancellable(range(len(pose)))
    ]
    return torch.cat(drawings)
