"""Poses from pictures, poses on other proportions, and poses between poses."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.pose.canvas import canvas_notes, in_frame
from ..pcdm_core.pose.detect import DetectionError, describe_people, detect_people
from ..pcdm_core.pose.interpolate import interpolate_poses
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.overlay import LONGER_SIDE, overlay
from ..pcdm_core.pose.retarget import Framing, retarget
from ..pcdm_core.ranges import POSES
from .cancel import cancellable, draw_each, stop_where_cancelled
from .convert import image_of, picture_of
from .newer import search_aliases
from .notes import REPORT_TOOLTIP, show
from .pose import CATEGORY
from .types import PoseSocket
from .widgets import checked

EMPTY_FRAME = (768, 512)  # where nothing says the frame's shape; the pose editor's own
DETECTORS = {
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
        cls, image: Tensor, detector: str, person: int, fit_to: Tensor | None = None
    ) -> io.NodeOutput:
        poses, previews, reports = [], [], []
        for number, picture in enumerate(cancellable(picture_of(image).split(1))):
            prefix = f"picture {number + 1}: " if len(image) > 1 else ""
            pose, report = _find(picture, DETECTORS[detector], person, prefix)
            previews.append(overlay(picture, [pose]))
            reports.append(prefix + report)
            pose = pose.with_canvas(tuple(picture.shape[-2:]))
            poses.append(pose if fit_to is None else in_frame(pose, tuple(fit_to.shape[1:3])))
        report = "\n".join(reports)
        logging.getLogger(__name__).info("PCDM Pose from Image: %s", report)
        pose, preview = Keypoints.cat(poses), image_of(torch.cat(previews))
        return io.NodeOutput(pose, preview, report, ui=show(cls, report))


def _find(picture: Tensor, detector: Any, person: int, prefix: str) -> tuple[Keypoints, str]:
    """One person of a picture, and who is in it."""
    try:
        people = detect_people(picture, detector, check=stop_where_cancelled)
    except DetectionError as error:
        raise type(error)(f"{prefix}{error}") from error
    report = describe_people(people)
    if person >= len(people):
        raise DetectionError(f"{prefix}person {person} was asked for; there is {report}")
    return people[person], report


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


class PCDMInterpolatePoses(io.ComfyNode):
    """A batch of PCDM_POSE that moves through key poses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMInterpolatePoses",
            display_name="PCDM Interpolate Poses",
            category=CATEGORY,
            description="Makes a movement between key poses, as a batch that the samplers "
            "draw from one source picture. Limbs turn and keep their lengths.",
            **search_aliases(
                "animation, in-between, tween, keyframes, motion", "姿势插值, 动画, 补间"
            ),
            inputs=[
                PoseSocket.Input("first_pose", tooltip="The first key pose, or several in order."),
                PoseSocket.Input(
                    "next_pose", optional=True, tooltip="More key poses, to follow the first."
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    **POSES.bounds,
                    tooltip="How many poses the movement has, including the key poses.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="Returns to the first pose at the end, without repeating it.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="The source picture. Its shape is the frame, and the preview shows it.",
                ),
            ],
            outputs=[
                PoseSocket.Output(
                    "pose", display_name="pose", tooltip="The poses of the movement, in order."
                ),
                io.Image.Output(
                    "preview", display_name="preview", tooltip="One picture for each pose."
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        first_pose: Keypoints,
        count: int,
        loop: bool,
        next_pose: Keypoints | None = None,
        source: Tensor | None = None,
    ) -> io.NodeOutput:
        keys = first_pose if next_pose is None else Keypoints.cat([first_pose, next_pose])
        picture = torch.full((1, 3, *frame_of(keys)), -1.0)
        if source is not None:
            picture = picture_of(source[:1])
        moving = interpolate_poses(keys, count, tuple(picture.shape[-2:]), loop=loop)
        preview = draw_each(lambda row: overlay(picture, [row]), moving)
        return io.NodeOutput(moving, image_of(preview))


def frame_of(pose: Keypoints) -> tuple[int, int]:
    """A frame of the first canvas's shape, as large as an overlay."""
    height, width = next(filter(None, pose.canvases), EMPTY_FRAME)
    scale = LONGER_SIDE / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)
