"""A pose drawn by hand: the node whose text the script in `web/` shows as a figure to drag."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.images import resize, save_picture
from ..pcdm_core.pose.canvas import in_frame, says_no_canvas
from ..pcdm_core.pose.editor import inside, read_edited
from ..pcdm_core.pose.formats import PoseError, to_openpose
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.render import render_pose
from .convert import image_of, picture_of
from .newer import search_aliases
from .notes import tell
from .pose import CATEGORY
from .types import PoseSocket
from .widgets import checked

NO_CANVAS = (
    "The pose does not say the size of its picture; it is taken to be drawn for {}x{}, as here."
)
ANY_SIZE = 16384  # stands for the frame where a text is only checked
LARGEST_UNDERLAY = 1536  # pixels; what the browser draws behind the figure needs no more


class PCDMPoseEditor(io.ComfyNode):
    """PCDM_POSE from a figure that is dragged into shape."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPoseEditor",
            display_name="PCDM Pose Editor",
            category=CATEGORY,
            description="Pose a figure by dragging its joints. Start from the library or a "
            "connected pose, or trace a picture.",
            **search_aliases(
                "openpose editor, change pose, character pose, human pose, body, stickman, "
                "stick figure, mannequin, pose library",
                "姿势编辑器, 摆姿势, 换姿势, 骨架, 火柴人",
            ),
            inputs=[
                io.String.Input(
                    "pose_json",
                    default="",
                    multiline=True,
                    tooltip="The pose as OpenPose JSON. The editor writes it, and you can paste "
                    "any pose in JSON. If it is empty, the connected pose is used, or a "
                    "standing figure.",
                ),
                io.Int.Input(
                    "height",
                    default=768,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="Height of the frame around the figure and of the skeleton picture, "
                    "in pixels.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="Width of the frame around the figure and of the skeleton picture, in "
                    "pixels.",
                ),
                PoseSocket.Input(
                    "start_pose",
                    optional=True,
                    tooltip="A pose to start from. It is passed on unchanged until you move the "
                    "figure; several poses are stepped through above it.",
                ),
                io.Image.Input(
                    "underlay",
                    optional=True,
                    tooltip="A picture to trace, shown behind the figure. start_pose, if "
                    "connected, is taken to be the pose in this picture.",
                ),
            ],
            outputs=[
                PoseSocket.Output("pose", display_name="pose", tooltip="The pose of the figure."),
                io.Image.Output(
                    "skeleton",
                    display_name="skeleton",
                    tooltip="The pose as a skeleton picture, as the models see it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        pose_json: str,
        height: int,
        width: int,
        start_pose: Keypoints | None = None,
        underlay: Tensor | None = None,
    ) -> io.NodeOutput:
        frame = (height, width)
        start = None
        if start_pose is not None:
            start = _start(start_pose, frame if underlay is None else underlay.shape[1:3], frame)
        if start is not None and not pose_json.strip():
            pose = inside(start)
        else:
            pose = read_edited(pose_json, height, width)
        note = tell(cls, NO_CANVAS.format(*frame) if says_no_canvas(pose) else "")
        pose = pose.with_canvas(frame)
        ui: dict[str, Any] = {"pose": to_openpose(pose, height, width), "text": [pose_json]}
        if start is not None:
            ui["start_pose"] = to_openpose(start, height, width)
        if underlay is not None:
            ui["underlay"] = [save_underlay(underlay)]
        skeleton = image_of(render_pose(pose, height, width))
        ui = {f"pcdm_{key}": value for key, value in ui.items()}
        return io.NodeOutput(pose, skeleton, ui=ui | (note or {}))

    @classmethod
    def validate_inputs(cls, pose_json: str | None = None) -> bool | str:
        """Says before the run what is wrong with a text that was typed or pasted."""
        if not pose_json or not isinstance(pose_json, str):  # refused when it runs
            return True
        try:
            read_edited(pose_json, ANY_SIZE, ANY_SIZE)
        except PoseError as error:
            return str(error)
        return True


def _start(pose: Keypoints, picture: Sequence[int], frame: tuple[int, int]) -> Keypoints:
    """The connected pose in the frame, by way of the picture that it is traced in."""
    height, width = picture
    silent = says_no_canvas(pose)
    if tuple(picture) != frame:
        pose = in_frame(pose, (height, width)).with_canvas((height, width))
    return in_frame(pose, frame).with_canvas(None if silent else frame)


def save_underlay(image: Tensor) -> dict[str, str]:
    """The first picture in ComfyUI's temporary folder, as /view finds it."""
    picture = picture_of(image[:1])
    height, width = picture.shape[-2:]
    scale = min(1.0, LARGEST_UNDERLAY / max(height, width))
    if scale < 1:
        picture = resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))
    content = picture.cpu().contiguous().numpy().tobytes()
    name = f"pcdm_underlay_{hashlib.sha256(content).hexdigest()[:16]}.png"
    path = Path(folder_paths.get_temp_directory()) / name
    if not path.is_file():
        save_picture(picture, path)
    return {"filename": name, "subfolder": "", "type": "temp"}
