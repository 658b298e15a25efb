"""Poses on other proportions: what is kept, what is changed, and that nothing leaves the frame."""

import numpy as np
import pytest
import torch

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.pose.bones import KINDS, PARENT, bone_lengths, trunk_length
from pcdm_core.pose.editor import library
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import FACE, Keypoints
from pcdm_core.pose.retarget import Framing, retarget

SIZE = (96, 64)


def example(person: int, view: int = 0) -> Keypoints:
    return read_pose(WEIGHTS_FOLDER / "examples" / f"{person:06d}" / f"{view:02d}.json")


def arrays(pose: Keypoints, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    return pose.to_pixels(*size)[0].numpy(), pose.visible[0].numpy()


def bones(pose: Keypoints) -> dict[int, np.ndarray]:
    xy, visible = arrays(pose)
    return {
        j: xy[j] - xy[PARENT[j]] for j in range(18) if j != 1 and visible[j] and visible[PARENT[j]]
    }


def grown(pose: Keypoints, **factors: float) -> Keypoints:
    """Somebody with other limbs in the same pose; factors of `legs`, `arms` and `all`."""
    xy, _ = arrays(pose)
    result = xy.copy()
    chains = {"arms": ((2, 3, 4), (5, 6, 7)), "legs": ((8, 9, 10), (11, 12, 13))}
    for name, joints in chains.items():
        for chain in joints:
            for joint in chain[1:]:
                bone = (xy[joint] - xy[PARENT[joint]]) * factors.get(name, 1.0)
                result[joint] = result[PARENT[joint]] + bone
    result = (result - result[1]) * factors.get("all", 1.0) + result[1]
    return Keypoints.from_pixels(torch.from_numpy(result), pose.visible[0], *SIZE)


def poses() -> list[Keypoints]:
    """Of the library, on the examples' frame: its canvas is 2:3 as well."""
    return [entry.keypoints for entry in library()]


@pytest.mark.parametrize("person", range(12))
def test_a_pose_on_its_own_proportions_stays_as_it_is(person: int) -> None:
    source = example(person, person % 5)
    result = retarget(source, source, SIZE).pose
    assert torch.equal(result.visible, source.visible)
    visible = source.visible
    torch.testing.assert_close(result.xy[visible], source.xy[visible], atol=1e-9, rtol=0)


@pytest.mark.parametrize("framing", ["as source", "whole"])
def test_every_bone_keeps_its_direction_and_missing_joints_stay_missing(framing: Framing) -> None:
    for number, target in enumerate(poses()):
        result = retarget(target, example(number % 12), SIZE, framing=framing).pose
        assert not (result.visible & ~target.visible).any()
        assert result.xy.isfinite().all()
        before, after = bones(target), bones(result)
        for joint in before.keys() & after.keys():
            a, b = before[joint], after[joint]
            assert a @ b >= (1 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(b)


def test_the_source_persons_bone_lengths_are_kept() -> None:
    """Two people in one unforeshortened pose: every bone of the result has the source's length."""
    target = poses()[1]  # arms away from the body
    for factors in ({"legs": 0.85, "arms": 0.9}, {"all": 0.7, "arms": 1.1}, {"all": 0.8}):
        source = grown(target, **factors)
        result = bones(retarget(target, source, SIZE).pose)
        for joint, bone in bones(source).items():
            if joint not in FACE[1:]:
                assert np.linalg.norm(result[joint]) == pytest.approx(
                    np.linalg.norm(bone), rel=1e-6
                )


def test_what_points_at_the_viewer_stays_short() -> None:
    target, source = poses()[1], grown(poses()[1], all=0.8)
    xy, _ = arrays(target)
    xy[4] = xy[3] + (xy[4] - xy[3]) * 0.3  # the right forearm
    short = Keypoints.from_pixels(torch.from_numpy(xy), target.visible[0], *SIZE)
    result, before = bones(retarget(short, source, SIZE).pose), bones(short)
    ratio = np.linalg.norm(result[4]) / np.linalg.norm(before[4])
    assert ratio == pytest.approx(0.8, rel=1e-6)


def test_a_retargeted_pose_has_the_source_persons_proportions() -> None:
    wide, narrow = 0, 0
    for number, target in enumerate(poses()):
        source = example(number % 12)
        result = retarget(target, source, SIZE).pose
        expected, got = (bone_lengths([arrays(pose)]) for pose in (source, result))
        had = bone_lengths([arrays(target)])
        poses_of = (source, target, result)
        trunks = [trunk_length(*arrays(pose)) or np.nan for pose in poses_of]
        for kind in expected.keys() & got.keys():
            lengths = (expected[kind], had[kind], got[kind])
            aim, before, after = (a / b for a, b in zip(lengths, trunks, strict=True))
            wide += 1
            narrow += abs(after - aim) <= abs(before - aim) + 0.02
    assert wide > 200
    assert narrow / wide > 0.9


def test_feet_stand_where_the_source_stands() -> None:
    source = example(7)
    for target in poses()[:6]:
        result = retarget(target, source, SIZE).pose
        floor = source.xy[0, [10, 13], 1].max().item()
        assert result.xy[0, [10, 13], 1].max().item() == pytest.approx(floor, abs=1e-6)


def random_pose(generator: torch.Generator) -> Keypoints:
    xy = torch.rand(1, 18, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    share = torch.rand(1, generator=generator).item()
    return Keypoints(xy, torch.rand(1, 18, generator=generator) < share)


def test_partial_bodies_of_any_kind_give_finite_poses_and_no_new_joints() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        target, source = random_pose(generator), random_pose(generator)
        for framing in ("as source", "whole"):
            result = retarget(target, source, SIZE, framing=framing)
            assert result.pose.xy.isfinite().all()
            assert not (result.pose.visible & ~target.visible).any()
            assert result.report


def test_a_body_of_one_point_is_not_blown_up() -> None:
    xy = torch.full((1, 18, 2), 0.5, dtype=torch.float64)
    point = Keypoints(xy, torch.ones(1, 18, dtype=torch.bool))
    for target, source in ((point, example(0)), (example(0), point), (point, point)):
        assert retarget(target, source, SIZE).pose.xy.abs().max() <= 2


def half(pose: Keypoints) -> Keypoints:
    """A close-up: twice as large, cut at the hips."""
    xy = (pose.xy - pose.xy[:, 1:2]) * 2 + torch.tensor([0.5, 0.4], dtype=torch.float64)
    visible = pose.visible & ((xy >= 0) & (xy <= 1)).all(-1)
    return Keypoints(xy, visible)


def test_a_close_up_keeps_its_scale_and_its_head_and_trunk_in_the_frame() -> None:
    source = half(example(7))
    assert not source.visible[0, [10, 13]].any()
    for target in poses():
        result = retarget(target, source, SIZE).pose
        core = result.visible[0, [1, 2, 5]]
        assert core.equal(target.visible[0, [1, 2, 5]])
        inside = result.xy[result.visible]
        assert inside.min() >= 0
        assert inside.max() <= 1
    sizes = [
        trunk_length(*arrays(pose)) for pose in (source, retarget(poses()[0], source, SIZE).pose)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)


def test_the_whole_body_stays_in_the_frame_where_that_is_asked_for() -> None:
    source = half(example(7))
    for target in poses():
        result = retarget(target, source, SIZE, framing="whole").pose
        assert torch.equal(result.visible, target.visible)


def test_a_standing_source_never_loses_a_joint_of_the_pose() -> None:
    for target in poses():
        for person in (0, 3, 7):
            result = retarget(target, example(person), SIZE).pose
            assert torch.equal(result.visible, target.visible)


def test_a_pose_of_a_picture_of_another_shape_is_not_squashed() -> None:
    target = poses()[0]
    wide = Keypoints(
        target.xy * torch.tensor([0.25, 1.0]) + torch.tensor([0.3, 0.0]), target.visible
    )
    result = retarget(wide, example(0), SIZE, target_size=(96, 256)).pose
    same = retarget(target, example(0), SIZE).pose
    torch.testing.assert_close(result.xy[same.visible], same.xy[same.visible], atol=1e-2, rtol=0)


def test_hands_stay_on_their_wrists() -> None:
    target = poses()[1]
    hands = target.xy[:, [7, 4], None].repeat(1, 1, 21, 1) + 0.01
    armed = Keypoints(target.xy, target.visible, hands, torch.ones(1, 2, 21, dtype=torch.bool))
    result = retarget(armed, grown(target, all=0.5), SIZE).pose
    assert result.hands_xy is not None
    offset = result.hands_xy[0, :, 0] - result.xy[0, [7, 4]]
    torch.testing.assert_close(offset, torch.full_like(offset, 0.005))


def test_rows_and_sources_go_together_or_are_refused() -> None:
    result = retarget(Keypoints.cat(poses()[:3]), example(0), SIZE)
    assert len(result.pose) == 3
    assert len(result.report.splitlines()) == 3
    with pytest.raises(ValueError, match="cannot expand 2 poses to 3"):
        retarget(Keypoints.cat(poses()[:3]), Keypoints.cat([example(0), example(1)]), SIZE)
    assert sum(len(joints) for joints, _ in KINDS) + len(FACE[1:]) == 17


def test_a_movement_of_one_body_keeps_its_sizes_and_its_jumps() -> None:
    standing, source = poses()[0], example(7)
    short = arrays(standing)[0]
    short[[6, 7]] = short[5] + (short[[6, 7]] - short[5]) * 0.4  # an arm towards the viewer
    reaching = Keypoints.from_pixels(torch.from_numpy(short), standing.visible[0], *SIZE)
    high = Keypoints(standing.xy - torch.tensor([0.0, 0.1]), standing.visible)
    result = retarget(Keypoints.cat([standing, reaching, high]), source, SIZE, one_body=True).pose
    first, second, jump = (result.select(row) for row in range(3))
    same = [joint for joint in range(18) if joint not in (6, 7)]
    torch.testing.assert_close(first.xy[0, same], second.xy[0, same])
    rise = first.xy - jump.xy
    torch.testing.assert_close(rise, rise[:, :1].expand_as(rise))
    assert rise[0, 0, 1] > 0.05
    alone = retarget(standing, source, SIZE).pose
    torch.testing.assert_close(first.xy, alone.xy)


def test_a_movement_with_a_pose_of_no_joints_goes_on() -> None:
    nothing = Keypoints(poses()[0].xy, torch.zeros(1, 18, dtype=torch.bool))
    for order in ([nothing, poses()[0]], [poses()[0], nothing], [nothing]):
        result = retarget(Keypoints.cat(order), example(0), SIZE, one_body=True).pose
        assert result.xy.isfinite().all()
        assert result.visible.any() == (len(order) == 2)


def half_of(pose: Keypoints, *joints: int) -> Keypoints:
    """Without the legs, but for the joints that are shown."""
    visible = pose.visible.clone()
    visible[:, [joint for joint in range(8, 14) if joint not in joints]] = False
    return Keypoints(pose.xy, visible)


def test_half_a_body_gets_the_legs_of_the_source_where_that_is_asked_for() -> None:
    source = example(7)
    half = half_of(example(3))
    result = retarget(half, source, SIZE, keep_legs=True)
    assert result.pose.visible[0, 8:14].all()
    torch.testing.assert_close(result.pose.xy[0, 8:14], source.xy[0, 8:14])
    assert "the source's own" in result.report
    as_given = retarget(half, source, SIZE)
    assert torch.equal(as_given.pose.visible, half.visible)
    torch.testing.assert_close(result.pose.xy[0, :8], as_given.pose.xy[0, :8])


def test_legs_hang_on_the_hips_that_a_pose_shows() -> None:
    source = example(7)
    result = retarget(half_of(poses()[1], 8, 11), source, SIZE, keep_legs=True).pose
    for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
        for joint in (knee, ankle):
            bone = source.xy[0, joint] - source.xy[0, hip]
            torch.testing.assert_close(result.xy[0, joint] - result.xy[0, hip], bone)


def test_legs_that_a_pose_or_the_source_shows_in_part_stay_as_they_are() -> None:
    knee, source = half_of(poses()[1], 8, 9), example(7)
    assert torch.equal(retarget(knee, source, SIZE, keep_legs=True).pose.visible, knee.visible)
    half = half_of(poses()[1])
    result = retarget(half, half_of(source), SIZE, keep_legs=True).pose
    assert torch.equal(result.visible, half.visible)
    movement = Keypoints.cat([half, poses()[1]])
    result = retarget(movement, source, SIZE, one_body=True, keep_legs=True).pose
    assert not result.visible[0, 8:14].any()
