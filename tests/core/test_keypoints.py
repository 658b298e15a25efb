"""Key points: shapes, missing joints, batches, and the prior's pose token."""

import pytest
import torch

from pcdm_core.pose.keypoints import BODY_JOINTS, MIRROR, Keypoints


def random_keypoints(batch: int, seed: int = 0, hands: bool = False) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(batch, 18, 2, generator=generator, dtype=torch.float64)
    visible = torch.rand(batch, 18, generator=generator) < 0.7
    if not hands:
        return Keypoints(xy, visible)
    hands_xy = torch.rand(batch, 2, 21, 2, generator=generator, dtype=torch.float64)
    return Keypoints(xy, visible, hands_xy, torch.rand(batch, 2, 21, generator=generator) < 0.7)


def assert_equal(a: Keypoints, b: Keypoints) -> None:
    for field in ("xy", "visible", "hands_xy", "hands_visible"):
        ours, theirs = getattr(a, field), getattr(b, field)
        if ours is None or theirs is None:
            assert ours is theirs
        else:
            torch.testing.assert_close(ours, theirs)


def test_pixels_go_in_and_come_out_again() -> None:
    pixels = torch.tensor([[44.0, 64.0]] * 18)
    keypoints = Keypoints.from_pixels(pixels, torch.ones(18, dtype=torch.uint8), 256, 176)
    assert len(keypoints) == 1
    torch.testing.assert_close(keypoints.xy[0, 0], torch.tensor([0.25, 0.25], dtype=torch.float64))
    torch.testing.assert_close(keypoints.to_pixels(256, 176)[0], pixels.double())


def test_the_pose_token_interleaves_x_and_y() -> None:
    keypoints = random_keypoints(2)
    token = keypoints.to_vector()
    assert token.shape == (2, 1, 36)
    assert token.dtype == torch.float32
    joint = int(keypoints.visible[1].nonzero()[0])
    torch.testing.assert_close(
        token[1, 0, 2 * joint : 2 * joint + 2], keypoints.xy[1, joint].float()
    )


@pytest.mark.parametrize("code", [-1.0, 0.0])
def test_a_missing_joint_has_the_configured_code_in_both_coordinates(code: float) -> None:
    keypoints = random_keypoints(3)
    token = keypoints.to_vector(missing_joint=code).reshape(3, 18, 2)
    assert (~keypoints.visible).any()
    assert token[~keypoints.visible].eq(code).all()


def test_a_missing_joint_never_carries_nan() -> None:
    xy = torch.rand(1, 18, 2)
    xy[0, 4] = float("nan")
    visible = torch.ones(1, 18, dtype=torch.bool)
    visible[0, 4] = False
    keypoints = Keypoints(xy, visible)
    assert keypoints.xy.isfinite().all()
    assert keypoints.to_vector().isfinite().all()


def test_a_visible_nan_is_refused_by_name() -> None:
    xy = torch.rand(2, 18, 2)
    xy[1, 7, 1] = float("nan")
    with pytest.raises(ValueError, match=r"xy: the point \[1, 7\].*NaN"):
        Keypoints(xy, torch.ones(2, 18, dtype=torch.bool))


def test_seventeen_joints_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"\[B, 18, 2\].*\[1, 17, 2\]"):
        Keypoints(torch.rand(1, 17, 2), torch.ones(1, 17, dtype=torch.bool))


def test_pixels_given_as_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="from_pixels"):
        Keypoints(torch.full((1, 18, 2), 120.0), torch.ones(1, 18, dtype=torch.bool))


def test_visibility_must_be_bool_and_match() -> None:
    with pytest.raises(ValueError, match="visible: expected bool"):
        Keypoints(torch.rand(1, 18, 2), torch.ones(1, 18))
    with pytest.raises(ValueError, match="visible: expected bool"):
        Keypoints(torch.rand(2, 18, 2), torch.ones(1, 18, dtype=torch.bool))


def test_hands_need_their_visibility_and_their_shape() -> None:
    body, visible = torch.rand(1, 18, 2), torch.ones(1, 18, dtype=torch.bool)
    with pytest.raises(ValueError, match="give both or neither"):
        Keypoints(body, visible, torch.rand(1, 2, 21, 2))
    with pytest.raises(ValueError, match="hands_xy: expected"):
        Keypoints(body, visible, torch.rand(1, 21, 2), torch.ones(1, 21, dtype=torch.bool))


@pytest.mark.parametrize("hands", [False, True])
def test_cat_and_select_undo_each_other(hands: bool) -> None:
    keypoints = random_keypoints(3, hands=hands)
    assert_equal(Keypoints.cat([keypoints.select(0), keypoints.select([1, 2])]), keypoints)
    assert_equal(keypoints.select(-1), keypoints.select(slice(2, 3)))
    assert len(keypoints.select(1)) == 1


def test_cat_gives_missing_hands_to_those_who_have_none() -> None:
    with_hands, without = random_keypoints(1, hands=True), random_keypoints(2)
    both = Keypoints.cat([without, with_hands])
    assert both.hands_visible is not None
    assert not both.hands_visible[:2].any()
    assert_equal(both.select(2), with_hands)


def test_one_pose_expands_and_two_do_not() -> None:
    assert len(random_keypoints(1, hands=True).expand(4)) == 4
    assert len(random_keypoints(2).expand(2)) == 2
    with pytest.raises(ValueError, match="cannot expand 2 poses to 3"):
        random_keypoints(2).expand(3)


def test_the_mirror_swaps_left_and_right() -> None:
    swapped = tuple(BODY_JOINTS[joint] for joint in MIRROR)
    for name, other in zip(BODY_JOINTS, swapped, strict=True):
        sides = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert other == sides


@pytest.mark.parametrize("hands", [False, True])
def test_a_mirror_in_a_mirror_shows_the_original(hands: bool) -> None:
    keypoints = random_keypoints(2, hands=hands)
    mirrored = keypoints.mirrored()
    torch.testing.assert_close(mirrored.xy[:, 2, 0], 1 - keypoints.xy[:, 5, 0])
    assert_equal(mirrored.mirrored(), keypoints)


def test_moving_to_a_device_keeps_everything() -> None:
    keypoints = random_keypoints(2, hands=True)
    assert_equal(keypoints.to("cpu"), keypoints)
