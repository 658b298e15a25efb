"""The picture that a pose was drawn for goes with it, and no way in squashes a body."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from pcdm_core.cli import main
from pcdm_core.images import Fit, load_picture, save_picture
from pcdm_core.inputs import fitted_pose
from pcdm_core.pose.canvas import canvas_notes, in_frame
from pcdm_core.pose.editor import library, read_edited
from pcdm_core.pose.formats import PoseError, read_pose, to_openpose
from pcdm_core.pose.interpolate import interpolate_poses
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.read_any import read_skeletons
from pcdm_core.pose.render import render_pose
from pcdm_core.pose.retarget import retarget
from pcdm_core.pose.source_and_targets import read_source_and_targets
from tests.core.pose_dialects import BODY
from tests.core.tiny_pipeline import poses, save_person, save_tiny_weights, tiny_pipeline

FRAME = (768, 512)  # the source picture's
VIDEO = (1080, 1920)

# In pixels of a video: the right arm lies level, the left one hangs at 45 degrees.
WIDE = (
    (960, 300), (960, 380), (900, 380), (800, 380), (700, 380), (1020, 380), (1090, 450),
    (1160, 520), (925, 600), (925, 760), (925, 920), (995, 600), (995, 760), (995, 920),
    (945, 285), (975, 285), (930, 295), (990, 295),
)  # fmt: skip


def document(points: Any = WIDE, canvas: tuple[int, int] | None = VIDEO) -> dict[str, Any]:
    """OpenPose's own file, or with a canvas ComfyUI's."""
    flat = [float(value) for x, y in points for value in (x, y, 1)]
    size = {} if canvas is None else {"canvas_height": canvas[0], "canvas_width": canvas[1]}
    return {"people": [{"pose_keypoints_2d": flat}], **size}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def pixels(pose: Keypoints, row: int = 0, frame: tuple[int, int] = FRAME) -> np.ndarray:
    return pose.to_pixels(*frame)[row].numpy()


def arm(xy: np.ndarray) -> float:
    """Degrees below the horizon of the left lower arm."""
    return float(np.degrees(np.arctan2(*(xy[7] - xy[6])[::-1])))


def broadness(xy: np.ndarray) -> float:
    """Width of the shoulders over the length of the right thigh."""
    return float(np.linalg.norm(xy[2] - xy[5]) / np.linalg.norm(xy[8] - xy[9]))


def unsquashed(pose: Keypoints, row: int = 0, frame: tuple[int, int] = FRAME) -> bool:
    xy = pixels(pose, row, frame)
    return bool(abs(arm(xy) - 45) < 0.1 and abs(broadness(xy) - 0.75) < 0.003)


def test_a_pose_keeps_its_canvas_through_choice_copies_and_batches() -> None:
    wide, tall = read_pose(document()), read_pose(document(BODY, FRAME))
    both = Keypoints.cat([wide, tall, poses(1)])
    assert both.canvases == [VIDEO, FRAME, None]
    assert both.select([1, 0]).canvases == [FRAME, VIDEO]
    assert wide.expand(3).canvases == [VIDEO] * 3
    assert both.mirrored().without_hands().to("cpu").canvases == both.canvases
    assert wide.moved(lambda xy: xy / 2).canvases == [None]
    assert Keypoints.from_pixels(torch.zeros(18, 2), torch.ones(18), 30, 20).canvases == [(30, 20)]
    with pytest.raises(ValueError, match=r"canvas: expected \[1, 2\]"):
        Keypoints(wide.xy, wide.visible, canvas=torch.ones(2, 2))


def test_each_row_of_a_batch_comes_whole_into_the_frame() -> None:
    both = Keypoints.cat([read_pose(document()), read_pose(document(BODY, FRAME)), poses(1)])
    result = in_frame(both, FRAME)
    assert unsquashed(result)
    assert torch.equal(result.xy[1], both.xy[1])  # its own shape: to the bit
    assert torch.equal(result.xy[2], both.xy[2])  # unknown: as it is
    assert result.canvases == [FRAME, FRAME, None]
    same_shape = in_frame(both.select(1), (384, 256))
    assert torch.equal(same_shape.xy, both.xy[1:2])


@pytest.mark.parametrize("mode", ["pad", "squash"])
def test_the_stages_see_a_pose_as_they_see_the_sources_frame(mode: Any) -> None:
    """What the preset's fit does to the source picture happens to the frame, after the canvas."""
    how = Fit.of(*FRAME, 64, 64, mode)
    pose = read_pose(document())
    result = fitted_pose(pose, how)
    torch.testing.assert_close(result.xy, how.points(in_frame(pose, FRAME).xy))


def test_a_retargeted_arm_keeps_its_angle_whatever_the_canvas() -> None:
    source = in_frame(library()[0].keypoints, FRAME)
    result = retarget(read_pose(document()), source, FRAME).pose
    assert arm(pixels(result)) == pytest.approx(45, abs=0.1)
    assert result.canvases == [FRAME]


def test_a_movement_between_poses_of_two_shapes_squashes_neither() -> None:
    keys = Keypoints.cat([read_pose(document()), read_pose(document(BODY, FRAME))])
    result = interpolate_poses(keys, 3, FRAME)
    assert unsquashed(result)
    torch.testing.assert_close(result.xy[2], keys.xy[1])
    assert result.canvases == [FRAME] * 3
    silent = Keypoints.cat([keys, read_pose([[x / 512, y / 768] for x, y in BODY])])
    assert interpolate_poses(silent, 3, FRAME).canvases == [None] * 3


def test_a_skeleton_picture_is_the_canvas_of_its_pose() -> None:
    drawing = render_pose(library()[0].keypoints, 512, 384)
    assert read_skeletons(drawing).keypoints.canvases == [(512, 384)]


def test_a_text_of_the_editor_without_a_canvas_is_no_guess_in_silence() -> None:
    text = json.dumps(document(BODY, None))
    assert read_edited(text, *FRAME).canvases == [None]
    assert read_edited(json.dumps(document()), *FRAME).canvases == [FRAME]
    with pytest.raises(PoseError, match="not of the 768x512 that it is used with"):
        read_edited(json.dumps(document(canvas=None)), *FRAME)


def test_the_pipeline_fits_the_canvas_and_says_so() -> None:
    pipeline = tiny_pipeline()
    source, target = poses(1), read_pose(document())
    picture = torch.zeros(1, 3, 96, 64)
    run: dict[str, Any] = {"seed": 0, "steps": 2, "restore": True}
    result = pipeline(picture, source, target, **run)
    moved = in_frame(target, (96, 64))
    assert torch.equal(result.image, pipeline(picture, source, moved, **run).image)
    assert torch.equal(result.mask, pipeline(picture, source, moved, **run).mask)
    assert "drawn for a picture of 1080x1920" in result.notes[0]


def test_what_is_said_of_canvases() -> None:
    frame, standing, wide = FRAME, read_pose(document(BODY, FRAME)), read_pose(document())
    assert canvas_notes(frame, standing, standing) == []
    assert canvas_notes(frame, standing, standing.with_canvas((384, 256))) == []  # only scaled
    assert (
        canvas_notes((960, 640), standing.with_canvas((960, 640)), standing.with_canvas((793, 529)))
        == []
    )
    (other,) = canvas_notes(frame, standing.with_canvas((384, 256)), standing)
    assert "drawn for a picture of 384x256, but the source picture is 768x512" in other
    (margins,) = canvas_notes(frame, standing, wide)
    assert "1080x1920" in margins
    assert "margins" in margins
    silent = read_pose([[x / 512, y / 768] for x, y in BODY])
    unknown = canvas_notes(frame, silent, silent.expand(2))
    assert [note[:15] for note in unknown] == ["The source pose", "The target pose"]
    assert canvas_notes(frame, poses(1), poses(2)) == []  # a program's, which says it by the frame


# --- the commands ---------------------------------------------------------------------------------


def test_frames_of_two_shapes_keep_their_own_canvases(tmp_path: Path) -> None:
    file = write(tmp_path / "poses.json", [document(BODY, FRAME), document()])
    out, drawing = tmp_path / "out.json", tmp_path / "out.png"
    assert main(["pose", str(file), "--json", str(out), "--render", str(drawing)]) == 0
    ratios: list[float] = []
    for frame, size in zip(json.loads(out.read_text()), (FRAME, VIDEO), strict=True):
        assert (frame["canvas_height"], frame["canvas_width"]) == size
        points = np.reshape(frame["people"][0]["pose_keypoints_2d"], (18, 3))
        ratios.append(broadness(points[:, :2]))
    assert ratios == [pytest.approx(0.824, abs=0.001), pytest.approx(0.75)]
    drawings = [load_picture(tmp_path / f"out_000{row}.png").shape[-2:] for row in (0, 1)]
    assert [tuple(size) for size in drawings] == [FRAME, VIDEO]
    with pytest.raises(ValueError, match="pose 0 has no canvas"):
        to_openpose(poses(1))


def test_pixels_of_a_video_are_not_taken_for_the_sources(tmp_path: Path) -> None:
    standing = write(tmp_path / "own.json", document(BODY, None))
    video = write(tmp_path / "clip_000000000000_keypoints.json", document(canvas=None))
    with pytest.raises(PoseError, match=r"clip_.*up to 1160, 920.*768x512.*--pose-size"):
        read_source_and_targets(standing, [video], *FRAME)
    result = read_source_and_targets(standing, [video], *FRAME, pose_size=VIDEO)
    assert unsquashed(result.targets)
    torch.testing.assert_close(result.source.to_pixels(*FRAME)[0], torch.tensor(BODY).double())
    assert "The source pose does not say the size of its picture" in result.notes[0]
    both = read_source_and_targets(video, [video], *FRAME, pose_size=VIDEO)
    assert unsquashed(both.source)
    (said,) = read_source_and_targets(
        write(tmp_path / "canvas.json", document(BODY, FRAME)), [standing], *FRAME
    ).notes
    assert "The target pose does not say" in said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person of 96x66 and weights."""
    folder = tmp_path_factory.mktemp("person")
    (folder / "weights").mkdir()
    save_tiny_weights(folder / "weights")
    return save_person(folder, 1)


def generate(folder: Path, output: Path, *more: str) -> int:
    inputs = ["--image", str(folder / "00.png"), "--source-pose", str(folder / "00.json")]
    loop = ["--weights", str(folder / "weights"), "--steps", "2", "--no-refining"]
    return main(["generate", *inputs, *loop, "--output", str(output), *more])


def test_generate_refuses_pixels_of_another_picture_by_the_options_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = str(write(tmp_path / "clip_keypoints.json", document(canvas=None)))
    assert generate(folder, tmp_path / "a.png", "--pose", video) == 2
    assert "--pose-size" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
    assert generate(folder, tmp_path / "a.png", "--pose", video, "--pose-size", "1080x1920") == 0
    assert "with margins" in capsys.readouterr().err
    canvas = str(write(tmp_path / "canvas.json", document()))
    assert generate(folder, tmp_path / "b.png", "--pose", canvas) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_generate_turns_a_phones_photograph_as_its_key_points_lie(
    folder: Path, tmp_path: Path
) -> None:
    """Case 82: stored lying, orientation 6, key points of the upright picture without a size."""
    upright = Image.open(folder / "00.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "phone.png", exif=exif)
    keypoints = to_openpose(read_pose(folder / "00.json"), upright.height, upright.width)[0]
    pose = write(tmp_path / "phone.json", {"people": keypoints["people"]})
    outputs = [tmp_path / "upright.png", tmp_path / "turned.png"]
    for image, output in zip((folder / "00.png", tmp_path / "phone.png"), outputs, strict=True):
        inputs = ["--image", str(image), "--source-pose", str(pose), "--pose", str(pose)]
        assert generate(folder, output, *inputs) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert Image.open(outputs[0]).size == upright.size


def test_generate_takes_a_skeleton_picture_and_a_person_of_a_frame(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standing = library()[0].keypoints
    drawing = save_picture(render_pose(standing, 384, 264), tmp_path / "drawing.png")
    assert generate(folder, tmp_path / "a.png", "--pose", str(drawing)) == 0
    assert (tmp_path / "a.png").is_file()
    right = [(x + 600, y) for x, y in WIDE]
    crowd = document()
    crowd["people"] = [*document(right)["people"], *crowd["people"]]
    clip = write(tmp_path / "clip.json", [document(BODY, FRAME), crowd])
    alone = write(tmp_path / "alone.json", document())
    choice = ("--frame", "1", "--order", "left to right", "--person", "0")
    assert generate(folder, tmp_path / "b.png", "--pose", str(clip), *choice) == 0
    assert generate(folder, tmp_path / "c.png", "--pose", str(alone)) == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    capsys.readouterr()
    assert generate(folder, tmp_path / "d.png", "--pose", str(clip), "--frame", "7") == 2
    assert "frame 7 was asked for" in capsys.readouterr().err
