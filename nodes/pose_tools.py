"""Poses from pictures, poses on other proportions, and poses between poses."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.pose.detect import DetectionError, describe_people, detect_people
from ..pcdm_core.pose.editor import fit_pose
from ..pcdm_core.pose.interpolate import interpolate_poses
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.overlay import overlay, overlays
from ..pcdm_core.pose.retarget import Framing, retarget
from ..pcdm_core.ranges import POSES
from .convert import image_of, picture_of
from .notes import REPORT_TOOLTIP, show
from .pose import CATEGORY
from .types import PoseSocket
from .widgets import checked

EMPTY_FRAME = (768, 512)  # where no picture says the frame's shape; the pose editor's own
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
            description="Finds a person in each picture. The detector ships with the pack; its "
            "runtime is one small package, which the node names if it is missing.",
            inputs=[
                io.Image.Input("image", tooltip="One or more pictures, each with a person."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    default="auto",
                    tooltip="'auto' takes the shipped one, or OpenPose where only that can run. "
                    "OpenPose also finds hands.",
                ),
                io.Int.Input(
                    "person",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="Which person of each picture, counted from 0; 0 is the largest. The "
                    "report says who is there.",
                ),
                io.Image.Input(
                    "fit_to",
                    optional=True,
                    tooltip="The picture that the pose will be used with, if that is another one: "
                    "the pose is fitted into its frame whole and not squashed.",
                ),
            ],
            outputs=[
                PoseSocket.Output("pose", display_name="pose", tooltip="One row a picture."),
                io.Image.Output(
                    "preview", display_name="preview", tooltip="The pictures with the poses drawn."
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
        for number, picture in enumerate(picture_of(image).split(1)):
            prefix = f"picture {number + 1}: " if len(image) > 1 else ""
            pose, report = _find(picture, DETECTORS[detector], person, prefix)
            previews.append(overlay(picture, [pose]))
            reports.append(prefix + report)
            size = tuple(picture.shape[-2:])
            frame = size if fit_to is None else tuple(fit_to.shape[1:3])
            poses.append(fit_pose(pose, size, frame))
        report = "\n".join(reports)
        logging.getLogger(__name__).info("PCDM Pose from Image: %s", report)
        pose, preview = Keypoints.cat(poses), image_of(torch.cat(previews))
        return io.NodeOutput(pose, preview, report, ui=show(cls, report))


def _find(picture: Tensor, detector: Any, person: int, prefix: str) -> tuple[Keypoints, str]:
    """One person of a picture, and who is in it."""
    try:
        people = detect_people(picture, detector)
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
            description="Moves poses of somebody else onto the source person's proportions, size "
            "and place, so that the person keeps its own limbs.",
            inputs=[
                PoseSocket.Input("target_pose", tooltip="The pose or poses asked for."),
                PoseSocket.Input("source_pose", tooltip="The pose in the source picture."),
                io.Image.Input("source", tooltip="The person; its picture is the frame."),
                io.Boolean.Input(
                    "enabled",
                    default=True,
                    tooltip="Off: the poses pass through as they are.",
                ),
                io.Combo.Input(
                    "framing",
                    options=["as source", "whole"],
                    default="as source",
                    tooltip="'as source' keeps the source's scale: a close-up stays a close-up, "
                    "and what lies beyond the frame is left out. 'whole' makes the pose small "
                    "enough to show every joint.",
                ),
                io.Boolean.Input(
                    "one_body",
                    default=False,
                    tooltip="The poses are a movement of one person: they are measured and placed "
                    "together, so that sizes do not flicker and a jump stays a jump.",
                ),
                io.Boolean.Input(
                    "keep_legs",
                    default=True,
                    optional=True,
                    tooltip="A pose without knees and ankles, as that of a half-body picture, gets "
                    "the legs that the source shows. Off: the model makes up what is below.",
                ),
            ],
            outputs=[
                PoseSocket.Output("pose", display_name="pose", tooltip="One row for each target."),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The poses over the source picture; its own pose in grey.",
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
        if enabled:
            size = tuple(picture.shape[-2:])
            result = retarget(
                target_pose,
                source_pose,
                size,
                framing=framing,
                one_body=one_body,
                keep_legs=keep_legs,
            )
            pose, report = result.pose, result.report
        ghost = source_pose.select(0)
        preview = image_of(overlays(picture, pose, ghost))
        return io.NodeOutput(pose, preview, report, ui=show(cls, report))


class PCDMInterpolatePoses(io.ComfyNode):
    """A batch of PCDM_POSE that moves through key poses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMInterpolatePoses",
            display_name="PCDM Interpolate Poses",
            category=CATEGORY,
            description="A movement through key poses, as a batch: the samplers render it from "
            "one source in one go. Limbs turn and keep their lengths.",
            inputs=[
                PoseSocket.Input("first_pose", tooltip="The first key pose, or several in a row."),
                PoseSocket.Input(
                    "next_pose", optional=True, tooltip="Further key poses, after the first."
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    **POSES.bounds,
                    tooltip="How many poses to give, the key poses among them.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="Goes back to the first pose at the end, without giving it twice.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="The source picture: its shape is the frame, and the preview shows it.",
                ),
            ],
            outputs=[
                PoseSocket.Output("pose", display_name="pose", tooltip="The movement."),
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
        picture = torch.full((1, 3, *EMPTY_FRAME), -1.0)
        if source is not None:
            picture = picture_of(source[:1])
        moving = interpolate_poses(keys, count, tuple(picture.shape[-2:]), loop=loop)
        return io.NodeOutput(moving, image_of(overlays(picture, moving)))
