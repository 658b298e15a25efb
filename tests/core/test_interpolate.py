"""Poses between poses: limbs turn and do not shrink, joints come and go."""

import numpy as np
import pytest
import torch

from pcdm_core.pose.bones import PARENT
from pcdm_core.pose.editor import library
from pcdm_core.pose.interpolate import between, interpolate_poses
from pcdm_core.pose.keypoints import Keypoints

SIZE = (768, 512)
POSES = {entry.name: entry.keypoints for entry in library()}
STANDING = POSES["Standing"]
LIMBS = (3, 4, 6, 7, 9, 10, 12, 13)


def lengths(pose: Keypoints) -> np.ndarray:
    xy = pose.to_pixels(*SIZE)[0].numpy()
    return np.array([np.linalg.norm(xy[joint] - xy[PARENT[joint]]) for joint in LIMBS])


def with_arm(angle: float) -> Keypoints:
    """Standing, with the left arm stretched at an angle; 0 hangs down, 90 points left."""
    xy = STANDING.to_pixels(*SIZE)[0].clone()
    step = torch.tensor([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))]) * 90
    xy[6] = xy[5] + step
    xy[7] = xy[6] + step
    return Keypoints.from_pixels(xy, STANDING.visible[0], *SIZE)


def without(pose: Keypoints, *joints: int) -> Keypoints:
    visible = pose.visible.clone()
    visible[0, list(joints)] = False
    return Keypoints(pose.xy, visible)


def test_limbs_keep_their_lengths_while_they_turn() -> None:
    first, last = with_arm(0), with_arm(170)
    straight = Keypoints((first.xy + last.xy) / 2, first.visible)
    assert lengths(straight)[2] < 0.2 * lengths(first)[2]  # what this avoids
    for pose in interpolate_poses(Keypoints.cat([first, last]), 9, SIZE).xy:
        result = lengths(Keypoints(pose[None], first.visible))
        np.testing.assert_allclose(result, lengths(first), rtol=1e-9)


def test_halfway_is_the_middle_of_the_angles() -> None:
    result = between(with_arm(20), with_arm(100), 0.5, SIZE)
    torch.testing.assert_close(result.xy, with_arm(60).xy)


def test_limb_lengths_lie_between_those_of_both_poses() -> None:
    entries = list(POSES.values())
    for first, second in zip(entries[:-1:3], entries[1::3], strict=False):
        facing = [pose.xy[0, 5, 0] - pose.xy[0, 2, 0] for pose in (first, second)]
        result = lengths(between(first, second, 0.4, SIZE))
        a, b = lengths(first), lengths(second)
        visible = [first.visible[0, j] & second.visible[0, j] for j in LIMBS]
        if facing[0] * facing[1] > 0:
            low, high = np.minimum(a, b) - 1e-6, np.maximum(a, b) + 1e-6
            assert all(((result >= low) & (result <= high))[visible])


def test_the_ends_are_the_key_poses_and_a_movement_passes_all_of_them() -> None:
    keys = Keypoints.cat([with_arm(0), with_arm(80), with_arm(150)])
    result = interpolate_poses(keys, 9, SIZE)
    assert len(result) == 9
    for row, key in ((0, 0), (4, 1), (8, 2)):
        torch.testing.assert_close(result.xy[row], keys.xy[key])


def test_a_loop_gives_the_first_pose_once() -> None:
    keys = Keypoints.cat([with_arm(0), with_arm(90)])
    result = interpolate_poses(keys, 8, SIZE, loop=True)
    torch.testing.assert_close(result.xy[0], keys.xy[0])
    torch.testing.assert_close(result.xy[4], keys.xy[1])
    torch.testing.assert_close(result.xy[7], result.xy[1])


def test_a_lying_trunk_turns_as_a_whole() -> None:
    xy = STANDING.to_pixels(*SIZE)[0]
    centre = (xy[8] + xy[11]) / 2
    off = xy - centre
    lying = torch.stack([-off[:, 1], off[:, 0]], dim=1) + centre
    result = between(STANDING, Keypoints.from_pixels(lying, STANDING.visible[0], *SIZE), 0.5, SIZE)
    np.testing.assert_allclose(lengths(result), lengths(STANDING), rtol=1e-9)
    spine = (result.to_pixels(*SIZE)[0, 1] - centre).numpy()
    assert np.rad2deg(np.arctan2(spine[0], -spine[1])) == pytest.approx(45, abs=1)


def test_a_turn_to_the_back_narrows_the_shoulders_and_never_turns_the_body_over() -> None:
    xy = STANDING.xy.clone()
    xy[..., 0] = 1 - xy[..., 0]  # seen from the back
    back = without(Keypoints(xy, STANDING.visible), 0, 14, 15)
    for share in (0.2, 0.5, 0.8):
        result = between(STANDING, back, share, SIZE).to_pixels(*SIZE)[0]
        assert result[1, 1] < result[8, 1] < result[10, 1]
        width, full = ((p[5, 0] - p[2, 0]).item() for p in (result, STANDING.to_pixels(*SIZE)[0]))
        assert width == pytest.approx(full * (1 - 2 * share), abs=1)


def test_a_joint_that_one_pose_lacks_comes_or_goes_halfway() -> None:
    first, last = without(with_arm(0), 7), with_arm(90)
    result = interpolate_poses(Keypoints.cat([first, last]), 5, SIZE)
    assert result.visible[:, 7].tolist() == [False, False, True, True, True]
    assert result.visible[:, 6].all()
    result = interpolate_poses(Keypoints.cat([first, without(last, 7)]), 5, SIZE)
    assert not result.visible[:, 7].any()


def test_a_joint_comes_in_at_its_place_on_the_moving_body() -> None:
    first, last = without(with_arm(0), 6, 7), with_arm(0)
    result = between(first, last, 0.6, SIZE)
    torch.testing.assert_close(result.xy[0, [6, 7]], last.xy[0, [6, 7]])


def test_any_two_partial_poses_give_finite_ones_in_between() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(300):
        pair = []
        for _ in range(2):
            xy = torch.rand(1, 18, 2, generator=generator, dtype=torch.float64)
            share = torch.rand(1, generator=generator).item()
            pair.append(Keypoints(xy, torch.rand(1, 18, generator=generator) < share))
        result = interpolate_poses(Keypoints.cat(pair), 4, SIZE)
        assert result.xy.isfinite().all()
        assert not (result.visible & ~(pair[0].visible | pair[1].visible)).any()


def test_hands_go_along() -> None:
    def armed(pose: Keypoints) -> Keypoints:
        hands = pose.xy[:, [7, 4], None].repeat(1, 1, 21, 1)
        return Keypoints(pose.xy, pose.visible, hands, torch.ones(1, 2, 21, dtype=torch.bool))

    result = between(armed(with_arm(0)), armed(with_arm(90)), 0.5, SIZE)
    assert result.hands_xy is not None
    torch.testing.assert_close(result.hands_xy[0, :, 3], result.xy[0, [7, 4]])
    assert between(armed(STANDING), with_arm(9), 0.2, SIZE).has_hands
    assert not between(armed(STANDING), with_arm(9), 0.8, SIZE).has_hands


def test_one_key_pose_is_repeated_and_none_is_refused() -> None:
    assert len(interpolate_poses(STANDING, 8, SIZE)) == 8
    with pytest.raises(ValueError, match="no pose to begin with"):
        interpolate_poses(STANDING.select([]), 8, SIZE)
    with pytest.raises(ValueError, match="count is 0; give a whole number from 1"):
        interpolate_poses(STANDING, 0, SIZE)
