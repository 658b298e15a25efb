"""The frames of a clip as one person's movement."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pcdm_core.cli import main
from pcdm_core.images import save_picture
from pcdm_core.pose.bones import body_of
from pcdm_core.pose.editor import library
from pcdm_core.pose.formats import read_pose, write_openpose
from pcdm_core.pose.interpolate import interpolate_poses
from pcdm_core.pose.keypoints import Joint, Keypoints
from pcdm_core.pose.read_any import read_pose_file
from pcdm_core.pose.render import render_pose
from pcdm_core.pose.smooth import smooth_poses

SIZE = (768, 512)
TRUNK = 200.0  # pixels of the library's figures


@pytest.fixture(scope="module")
def movement() -> Keypoints:
    """Two seconds of a person who moves and rests."""
    poses = {pose.name: pose.keypoints for pose in library()}
    keys = [poses[name] for name in ("Standing", "Both arms up", "Hands on the hips")]
    return interpolate_poses(Keypoints.cat([*keys, keys[-1]]), 61, SIZE)


def jittered(pose: Keypoints, share: float = 0.02) -> Keypoints:
    noise = np.random.default_rng(3).normal(size=pose.xy.shape) * share * TRUNK
    return replace(pose, xy=pose.xy + torch.from_numpy(noise / [512, 768]))


def error(pose: Keypoints, truth: Keypoints) -> float:
    """The mean distance of joints, in trunks."""
    off = (pose.to_pixels(*SIZE) - truth.to_pixels(*SIZE)).norm(dim=-1)
    return float(off[truth.visible].mean()) / TRUNK


def test_smoothing_halves_jitter_and_brings_no_delay(movement: Keypoints) -> None:
    rough = jittered(movement)
    smooth = smooth_poses(rough).pose
    assert error(smooth, movement) < 0.55 * error(rough, movement)
    # A delay would move the best match to another frame.
    shifts = {
        shift: error(smooth.select(slice(8, 50)), movement.select(slice(8 + shift, 50 + shift)))
        for shift in (-2, -1, 0, 1, 2)
    }
    assert min(shifts, key=shifts.__getitem__) == 0


def test_strength_goes_from_nothing_to_stillness(movement: Keypoints) -> None:
    rest = jittered(movement.select(0).expand(40))
    still = [
        float(smooth_poses(rest, strength=strength, one_body=False).pose.xy.std(dim=0).mean())
        for strength in (0.0, 0.25, 0.5, 1.0)
    ]
    assert still == sorted(still, reverse=True)
    assert still[-1] < 0.3 * still[0]
    calm = smooth_poses(rest, strength=0, one_body=False).pose
    torch.testing.assert_close(calm.xy, rest.xy)
    with pytest.raises(ValueError, match="strength is 2; give a number from 0 to 1"):
        smooth_poses(rest, strength=2)


def test_a_joint_that_flickers_comes_back_and_one_that_is_gone_stays_gone(
    movement: Keypoints,
) -> None:
    visible = movement.visible.clone()
    visible[27:30, Joint.LEFT_WRIST] = False
    visible[10:40, Joint.RIGHT_ANKLE] = False
    visible[:5, Joint.NOSE] = False
    smooth = smooth_poses(replace(movement, visible=visible), strength=0.3).pose
    assert smooth.visible[:, Joint.LEFT_WRIST].all()
    assert (smooth.xy - movement.xy)[27:30, Joint.LEFT_WRIST].abs().max() < 0.02
    assert torch.equal(smooth.visible[:, Joint.RIGHT_ANKLE], visible[:, Joint.RIGHT_ANKLE])
    assert not smooth.visible[:5, Joint.NOSE].any()


def test_no_limb_of_a_clip_grows(movement: Keypoints) -> None:
    def shin(pose: Keypoints, row: int) -> float:
        xy, _ = body_of(pose.select(row), SIZE)
        return float(np.linalg.norm(xy[Joint.LEFT_ANKLE] - xy[Joint.LEFT_KNEE]))

    xy = movement.xy.clone()
    xy[30, Joint.LEFT_ANKLE, 1] += 0.2
    longest = max(shin(movement, row) for row in range(61))
    rough = replace(movement, xy=xy)
    assert shin(smooth_poses(rough, strength=0).pose, 30) < 1.02 * longest
    assert shin(smooth_poses(rough, strength=0, one_body=False).pose, 30) > 1.5 * longest


def test_hands_go_with_their_wrists(movement: Keypoints) -> None:
    wrists = movement.xy[:, [Joint.LEFT_WRIST, Joint.RIGHT_WRIST], None]
    hands = wrists + torch.linspace(0, 0.05, 21).double()[:, None]
    pose = replace(movement, hands_xy=hands, hands_visible=torch.ones(61, 2, 21).bool())
    smooth = smooth_poses(jittered(pose)).pose
    assert smooth.hands_xy is not None
    off = smooth.hands_xy - smooth.xy[:, [Joint.LEFT_WRIST, Joint.RIGHT_WRIST], None]
    assert off.std(dim=0).max() < 0.02


def test_one_pose_is_no_movement(movement: Keypoints) -> None:
    one = movement.select(0)
    smooth = smooth_poses(one)
    assert torch.equal(smooth.pose.xy, one.xy)
    assert "no movement" in smooth.report


def test_the_command_fills_gaps_and_smooths_a_clip(
    movement: Keypoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_openpose(jittered(movement), tmp_path / "clip.json", *SIZE)
    document = json.loads(file.read_text())
    for frame in document[20:24]:
        frame["people"] = []
    file.write_text(json.dumps(document), encoding="utf-8")
    calm = tmp_path / "calm.json"
    assert main(["pose", str(file), "--smooth", ".5", "--json", str(calm)]) == 0
    said = capsys.readouterr().out
    assert "Smoothed: 61 frames: jitter" in said
    assert "lie between the poses round them" in said
    assert error(read_pose(calm), movement) < 0.6 * error(jittered(movement), movement)


def test_a_folder_of_pictures_is_a_clip(movement: Keypoints, tmp_path: Path) -> None:
    for number in (2, 10, 9):
        picture = render_pose(movement.select(number), *SIZE)
        save_picture(picture, tmp_path / f"frame_{number}.png")
    save_picture(torch.full((1, 3, 60, 40), 0.5), tmp_path / "frame_11.png")
    reading = read_pose_file(tmp_path)
    assert len(reading.keypoints) == 4
    assert error(reading.keypoints.select([0, 1, 2]), movement.select([2, 9, 10])) < 0.02
    assert "no usable pose in 1 of 4 frames (3)" in str(reading.report)
    one = read_pose_file(tmp_path, frame="frame_9.png").keypoints
    torch.testing.assert_close(one.xy, reading.keypoints.xy[1:2])


def test_poses_of_the_library_are_found_and_read_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pose", "--list", "KNEELING", "side"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert "Kneeling, side" in names
    assert all("side" in name.lower() for name in names)
    file = tmp_path / "pose.json"
    assert main(["pose", "kneeling, side", "--json", str(file)]) == 0
    (expected,) = (pose.keypoints for pose in library() if pose.name == "Kneeling, side")
    torch.testing.assert_close(read_pose(file).xy, expected.xy)
    assert main(["pose", "--list", "flying"]) == 2
    assert "No pose of the library" in capsys.readouterr().err
