"""Poses: from key points, from the example people, and as pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.checkpoints import WEIGHTS_FOLDER
from ..pcdm_core.images import load_picture
from ..pcdm_core.pose.body_mask import body_mask
from ..pcdm_core.pose.detect import detect_people
from ..pcdm_core.pose.formats import Gaps, Order, PoseError, Units, read_pose, read_pose_with_report
from ..pcdm_core.pose.formats.limits import GIVE_SIZE, PixelsError
from ..pcdm_core.pose.formats.sources import ENDINGS
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.pose.render import render_pose
from .cancel import draw_each, stop_where_cancelled
from .convert import image_of, mask_of, picture_of
from .newer import ADVANCED, search_aliases
from .notes import REPORT_TOOLTIP, show
from .types import KeypointSocket, PoseSocket
from .widgets import checked

CATEGORY = "PCDM/pose"
EXAMPLES = WEIGHTS_FOLDER / "examples"
NO_FILE = "none"
ALL_OTHERS = "all others"
_SET_SIZE = "set picture_height and picture_width"


def pose_files() -> list[str]:
    """Pose files of ComfyUI's input folder and the folders in it."""
    folder = Path(folder_paths.get_input_directory())
    files = [path.relative_to(folder) for path in folder.rglob("*.*") if path.is_file()]
    return sorted(path.as_posix() for path in files if path.suffix.lower() in ENDINGS)


def people() -> list[str]:
    """The example people that ship with the pack."""
    return sorted(path.name for path in EXAMPLES.glob("*") if path.name.isdigit())


def views() -> list[str]:
    """The numbers of the views that every example person has."""
    counts = [len(list((EXAMPLES / name).glob("*.png"))) for name in people()]
    return [str(view) for view in range(min(counts, default=0))]


class PCDMPoseFromKeypoints(io.ComfyNode):
    """PCDM_POSE from POSE_KEYPOINT, JSON text or a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPoseFromKeypoints",
            display_name="PCDM Pose from Key Points",
            category=CATEGORY,
            description="Reads a pose from another node, from text or from a file. It "
            "recognises OpenPose, COCO, DeepFashion and more, and shows what it "
            "recognised. Several frames become a batch of poses.",
            **search_aliases(
                "openpose, openpose json, dwpose, load pose, body, reference pose",
                "姿势, 关键点, 导入姿势, 参考姿势",
            ),
            inputs=[
                KeypointSocket.Input(
                    "keypoints",
                    optional=True,
                    tooltip="Key points from a pose detector or editor such as DWPose or SDPose. "
                    "Use either this, text or file.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="A pose as text: OpenPose JSON, another known format, or 18 lines of "
                    "x y.",
                ),
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *pose_files()],
                    default=NO_FILE,
                    tooltip="A .json, .jsonl, .txt, .csv, .npy or .npz file in ComfyUI's input "
                    "folder.",
                ),
                io.Int.Input(
                    "person",
                    default=-1,
                    min=-1,
                    max=99,
                    tooltip="Which person of each frame, counted from 0. -1 takes the largest.",
                ),
                io.Int.Input(
                    "picture_height",
                    default=0,
                    min=0,
                    max=16384,
                    **ADVANCED,
                    tooltip="Height of the picture that the pose comes from, in pixels. Set it "
                    "only if the pose does not say; 0 relies on the pose.",
                ),
                io.Int.Input(
                    "picture_width",
                    default=0,
                    min=0,
                    max=16384,
                    **ADVANCED,
                    tooltip="Width of the picture that the pose comes from, in pixels. Set it "
                    "only if the pose does not say; 0 relies on the pose.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(get_args(Order)),
                    default="file",
                    optional=True,
                    **ADVANCED,
                    tooltip="How to count people: in the order of the file, from left to right, "
                    "or the largest first.",
                ),
                io.Combo.Input(
                    "units",
                    options=list(get_args(Units)),
                    default="auto",
                    optional=True,
                    **ADVANCED,
                    tooltip="What the coordinates are: detected automatically, pixels, fractions "
                    "(0 to 1) or signed (-1 to 1). Change it if the pose comes out "
                    "shifted or tiny.",
                ),
                io.String.Input(
                    "frame",
                    default="",
                    optional=True,
                    **ADVANCED,
                    tooltip="Take only this frame, by number (from 0) or name. Empty takes all of "
                    "them.",
                ),
                io.Combo.Input(
                    "gaps",
                    options=list(get_args(Gaps)),
                    default="hold",
                    optional=True,
                    **ADVANCED,
                    tooltip="What to do with frames of a clip that lack the person: hold the pose "
                    "before, interpolate to the next one, or refuse the clip.",
                ),
            ],
            outputs=[
                PoseSocket.Output("pose", display_name="pose", tooltip="One pose for each frame."),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        text: str,
        file: str,
        person: int,
        picture_height: int,
        picture_width: int,
        keypoints: Any = None,
        order: Order = "file",
        units: Units = "auto",
        frame: str = "",
        gaps: Gaps = "hold",
    ) -> io.NodeOutput:
        try:
            reading = read_pose_with_report(
                _one_source(keypoints, text.strip(), file),
                size=_size_of(picture_height, picture_width),
                person="largest" if person < 0 else person,
                order=order,
                units=units,
                frame=_frame_asked_for(frame),
                gaps=gaps,
            )
        except PixelsError as error:
            raise PoseError(str(error).replace(GIVE_SIZE, _SET_SIZE)) from error
        report = str(reading.report)
        return io.NodeOutput(reading.keypoints, report, ui=show(cls, report))

    @classmethod
    def fingerprint_inputs(cls, file: str = NO_FILE, **_: Any) -> float:
        """A file that was saved again is read again."""
        if file not in pose_files():  # nothing that a workflow says becomes a path
            return 0.0
        return (Path(folder_paths.get_input_directory()) / file).stat().st_mtime


def _size_of(height: int, width: int) -> tuple[int, int] | None:
    if bool(height) != bool(width):
        raise PoseError(
            f"The picture cannot be {height}x{width} (height x width). Give both picture_height "
            f"and picture_width, or 0 and 0 where the pose says them itself."
        )
    return (height, width) if height else None


def _one_source(keypoints: Any, text: str, file: str) -> Any:
    sources = [keypoints is not None, bool(text), file != NO_FILE]
    if sum(sources) != 1:
        fault = "none of them is" if not any(sources) else "several are"
        raise PoseError(
            f"A pose comes from keypoints, from text or from a file, and {fault} given. "
            f"Connect, paste or choose exactly one."
        )
    if file != NO_FILE:
        return Path(folder_paths.get_input_directory()) / file
    if keypoints is not None and not isinstance(keypoints, (str, os.PathLike)):
        return keypoints
    # The line end says that this is the pose itself and not a path on the server. A workflow can
    # put a text in the place of a link.
    return f"{text if keypoints is None else keypoints}\n"


def _frame_asked_for(text: str) -> int | str | None:
    text = text.strip()
    # A number that no frame has is a name, however many digits it has.
    return int(text) if text.isdecimal() and len(text) < 10 else text or None


class PCDMRenderPose(io.ComfyNode):
    """IMAGE of skeletons."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMRenderPose",
            display_name="PCDM Render Pose",
            category=CATEGORY,
            description="Draws poses as skeletons, as the models see them. This is for "
            "looking at: the PCDM samplers draw their own.",
            **search_aliases(
                "openpose, draw skeleton, stickman, stick figure, body mask",
                "骨架图, 火柴人, 人体遮罩",
            ),
            inputs=[
                PoseSocket.Input("pose", tooltip="One pose, or several."),
                io.Int.Input(
                    "height",
                    default=96,
                    min=8,
                    max=4096,
                    step=8,
                    tooltip="Height of the picture, in pixels.",
                ),
                io.Int.Input(
                    "width",
                    default=64,
                    min=8,
                    max=4096,
                    step=8,
                    tooltip="Width of the picture, in pixels.",
                ),
                io.Boolean.Input(
                    "draw_hands", default=True, tooltip="Draws hands too, if the pose has any."
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="One skeleton picture for each pose."
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="The area of the body with a soft edge, for compositing.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, pose: Keypoints, height: int, width: int, draw_hands: bool) -> io.NodeOutput:
        skeleton = draw_each(lambda row: render_pose(row, height, width, draw_hands), pose)
        mask = draw_each(lambda row: body_mask(row, height, width), pose)
        return io.NodeOutput(image_of(skeleton), mask_of(mask))


class PCDMExamplePerson(io.ComfyNode):
    """A person of the test split: picture and poses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMExamplePerson",
            display_name="PCDM Example Person",
            category=CATEGORY,
            description="A rendered person to try things with: a picture, poses, and what the "
            "person really looks like in them. The shipped models were not "
            "trained on these people.",
            **search_aliases("human, character, sample image", "人物, 角色, 示例"),
            inputs=[
                io.Combo.Input("person", options=people(), tooltip="Which of the example people."),
                io.Combo.Input(
                    "source_view", options=views(), default="0", tooltip="The view to start from."
                ),
                io.Combo.Input(
                    "target_view",
                    options=[ALL_OTHERS, *views()],
                    default="1",
                    tooltip="The view to draw. 'all others' gives every other view, as one batch.",
                ),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="A person of your own takes the example's place: the pose is found in "
                    "this picture, and the target poses stay those of the example.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The person in the source view."
                ),
                PoseSocket.Output(
                    "source_pose",
                    display_name="source_pose",
                    tooltip="The pose in the source view.",
                ),
                PoseSocket.Output(
                    "target_pose",
                    display_name="target_pose",
                    tooltip="The pose in the target view, or one for each of them.",
                ),
                io.Image.Output(
                    "truth",
                    display_name="truth",
                    tooltip="What the person really looks like in the target views, to compare "
                    "with. Of a person of your own, who has none, it is grey.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, person: str, source_view: str, target_view: str, picture: Tensor | None = None
    ) -> io.NodeOutput:
        others = [view for view in views() if view != source_view]
        targets = others if target_view == ALL_OTHERS else [target_view]
        files = [EXAMPLES / person / f"{int(view):02d}.png" for view in (source_view, *targets)]
        pictures = [load_picture(file) for file in files]
        poses = [read_pose(file.with_suffix(".json")) for file in files]
        target_poses, truth = Keypoints.cat(poses[1:]), image_of(torch.cat(pictures[1:]))
        if picture is not None:
            people = detect_people(picture_of(picture[:1]), check=stop_where_cancelled)
            source = people[0].with_canvas(picture.shape[1:3])
            return io.NodeOutput(picture[:1], source, target_poses, torch.full_like(truth, 0.5))
        return io.NodeOutput(image_of(pictures[0]), poses[0], target_poses, truth)
