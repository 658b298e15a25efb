"""Poses to and from what other packs draw and read."""

from __future__ import annotations

import json

from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.pose.canvas import in_frame
from ..pcdm_core.pose.formats import to_openpose, to_pose_keypoint
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.read_any import read_skeletons
from .cancel import cancellable
from .convert import picture_of
from .newer import search_aliases
from .notes import REPORT_TOOLTIP, show
from .pose import CATEGORY
from .types import KeypointSocket, PoseSocket
from .widgets import checked


class PCDMPoseToKeypoints(io.ComfyNode):
    """POSE_KEYPOINT and OpenPose JSON from PCDM_POSE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPoseToKeypoints",
            display_name="PCDM Pose to Key Points",
            category=CATEGORY,
            description="Turns poses into POSE_KEYPOINT for nodes of other packs, and into "
            "OpenPose JSON to save or edit elsewhere.",
            **search_aliases("openpose, openpose json, export pose, save pose", "关键点, 导出姿势"),
            inputs=[
                PoseSocket.Input("pose", tooltip="One pose, or several."),
                io.Int.Input(
                    "height",
                    default=768,
                    min=8,
                    max=16384,
                    tooltip="Height in pixels of the picture that the key points are for.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=8,
                    max=16384,
                    tooltip="Width in pixels of the picture that the key points are for.",
                ),
            ],
            outputs=[
                KeypointSocket.Output(
                    "keypoints", display_name="keypoints", tooltip="One frame for each pose."
                ),
                io.String.Output(
                    "json",
                    display_name="json",
                    tooltip="OpenPose JSON as text; a list if there are several poses.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, pose: Keypoints, height: int, width: int) -> io.NodeOutput:
        pose = in_frame(pose, (height, width))
        documents = to_openpose(pose, height, width)
        text = json.dumps(documents[0] if len(documents) == 1 else documents)
        return io.NodeOutput(to_pose_keypoint(pose, height, width), text)


class PCDMPoseFromSkeleton(io.ComfyNode):
    """PCDM_POSE from pictures of skeletons."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPoseFromSkeleton",
            display_name="PCDM Pose from Skeleton Picture",
            category=CATEGORY,
            description="Reads the pose back from a skeleton picture (OpenPose in "
            "ControlNet's colours). It reads the body, and hands if the picture "
            "is exactly as it was drawn; it does not read the face. It also says "
            "where the drawing differs from what the models were trained on.",
            **search_aliases(
                "openpose, controlnet pose, stickman, stick figure", "骨架图, 火柴人, 姿势"
            ),
            inputs=[
                io.Image.Input("image", tooltip="One skeleton picture, or several."),
                io.Int.Input(
                    "person",
                    default=-1,
                    min=-1,
                    max=99,
                    tooltip="Which person of each picture, counted from 0 from left to right. -1 "
                    "takes the largest.",
                ),
            ],
            outputs=[
                PoseSocket.Output(
                    "pose", display_name="pose", tooltip="One pose for each picture."
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, person: int) -> io.NodeOutput:
        reading = read_skeletons(
            cancellable(picture_of(image)),
            person="largest" if person < 0 else person,
            order="left to right",
        )
        report = str(reading.report)
        return io.NodeOutput(reading.keypoints, report, ui=show(cls, report))
