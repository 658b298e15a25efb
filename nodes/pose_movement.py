"""Movements: poses between poses, and the poses of a clip."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.pose.canvas import in_frame
from ..pcdm_core.pose.interpolate import interpolate_poses
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.overlay import LONGER_SIDE
from ..pcdm_core.pose.smooth import smooth_poses
from ..pcdm_core.ranges import POSES, SHARE
from .convert import image_of, picture_of
from .newer import search_aliases
from .notes import REPORT_TOOLTIP, show
from .pose import CATEGORY
from .pose_tools import draw_on_each
from .types import PoseSocket
from .widgets import checked

EMPTY_FRAME = (768, 512)  # where nothing says the frame's shape; the pose editor's own


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
        preview = draw_on_each(picture, moving)
        return io.NodeOutput(moving, image_of(preview))


class PCDMSmoothPoses(io.ComfyNode):
    """PCDM_POSE of a clip, without its detector's faults."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMSmoothPoses",
            display_name="PCDM Smooth Poses",
            category=CATEGORY,
            description="Calms the poses of a clip: jitter is smoothed, joints that flicker are "
            "put back, and limbs are those of one body throughout.",
            **search_aliases(
                "video, clip, animation, jitter, stabilize, filter, one euro, motion",
                "平滑姿势, 视频, 抖动, 稳定, 动画",
            ),
            inputs=[
                PoseSocket.Input("poses", tooltip="The poses of a clip, one for each frame."),
                io.Float.Input(
                    "strength",
                    default=0.5,
                    **SHARE.bounds,
                    step=0.05,
                    tooltip="0 leaves the places as they are, 1 holds still what hardly moves. "
                    "Fast movements are followed at any strength (One Euro filter).",
                ),
                io.Boolean.Input(
                    "one_body",
                    default=True,
                    tooltip="Keeps every limb within the length that the whole clip shows. Turn "
                    "off for a person who comes nearer.",
                ),
                io.Image.Input(
                    "pictures",
                    optional=True,
                    tooltip="The frames of the clip, or one picture, to show the poses on.",
                ),
            ],
            outputs=[
                PoseSocket.Output(
                    "pose", display_name="pose", tooltip="The calmed poses, one for each frame."
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The new poses on the pictures; what they were before is grey.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls, poses: Keypoints, strength: float, one_body: bool, pictures: Tensor | None = None
    ) -> io.NodeOutput:
        grounds = torch.full((1, 3, *frame_of(poses)), -1.0)
        if pictures is not None:
            grounds = picture_of(pictures)
        size = tuple(grounds.shape[-2:])
        smooth = smooth_poses(poses, strength=strength, one_body=one_body, size=size)
        preview = draw_on_each(grounds, in_frame(smooth.pose, size), in_frame(poses, size))
        return io.NodeOutput(
            smooth.pose, image_of(preview), smooth.report, ui=show(cls, smooth.report)
        )


def frame_of(pose: Keypoints) -> tuple[int, int]:
    """A frame of the first canvas's shape, as large as an overlay."""
    height, width = next(filter(None, pose.canvases), EMPTY_FRAME)
    scale = LONGER_SIDE / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)
