"""The pose editor's text, the pose library, and the tables that the editor's script reads."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.pose.bones import body_of, trunk_length
from pcdm_core.pose.canvas import fit_pose
from pcdm_core.pose.editor import (
    LIBRARY_FILE,
    editor_tables,
    library,
    read_edited,
    to_edited,
)
from pcdm_core.pose.formats import PoseError
from pcdm_core.pose.keypoints import Joint, Keypoints
from pcdm_core.pose.render import COLOURS, LIMBS

HEIGHT, WIDTH = 384, 256


def edited(hidden: tuple[int, ...] = (), **changes: Any) -> dict[str, Any]:
    """The editor's document of the first library pose, with some joints hidden."""
    document = to_edited(library()[0].keypoints, HEIGHT, WIDTH)
    points = document["people"][0]["pose_keypoints_2d"]
    for joint in hidden:
        points[3 * joint + 2] = 0
    return document | changes


def test_a_pose_survives_the_editors_text() -> None:
    for pose in library():
        text = json.dumps(to_edited(pose.keypoints, HEIGHT, WIDTH))
        again = read_edited(text, HEIGHT, WIDTH)
        assert torch.equal(again.visible, pose.keypoints.visible)
        visible = pose.keypoints.visible
        torch.testing.assert_close(again.xy[visible], pose.keypoints.xy[visible])


def test_an_empty_text_is_the_first_pose_of_the_library() -> None:
    again = read_edited("  \n", HEIGHT, WIDTH)
    torch.testing.assert_close(again.xy, library()[0].keypoints.xy)


def test_a_hidden_joint_is_missing_and_only_that_one() -> None:
    again = read_edited(json.dumps(edited(hidden=(4, 13))), HEIGHT, WIDTH)
    assert (~again.visible[0]).nonzero().flatten().tolist() == [4, 13]


def test_a_pose_of_another_canvas_is_fitted_whole_and_not_squashed() -> None:
    text = json.dumps(edited())
    tall = read_edited(text, HEIGHT, WIDTH).to_pixels(HEIGHT, WIDTH)[0]
    square = read_edited(text, HEIGHT, HEIGHT).to_pixels(HEIGHT, HEIGHT)[0]
    torch.testing.assert_close(square - tall, (square - tall)[:1].expand(18, 2))
    half = read_edited(text, HEIGHT // 2, HEIGHT).to_pixels(HEIGHT // 2, HEIGHT)[0]
    torch.testing.assert_close((half - half[1]) * 2, tall - tall[1])


def test_joints_outside_the_frame_are_missing_on_all_four_sides() -> None:
    document = edited()
    points = document["people"][0]["pose_keypoints_2d"]
    for joint, (x, y) in {
        4: (-3.0, 100.0), 7: (WIDTH + 3.0, 100.0), 0: (100.0, -3.0), 10: (100.0, HEIGHT + 3.0)
    }.items():  # fmt: skip
        points[3 * joint : 3 * joint + 2] = x, y
    again = read_edited(json.dumps(document), HEIGHT, WIDTH)
    assert (~again.visible[0]).nonzero().flatten().tolist() == [0, 4, 7, 10]


def test_hands_come_along() -> None:
    document = edited()
    document["people"][0]["hand_left_keypoints_2d"] = [100.0, 200.0, 1.0] * 21
    again = read_edited(json.dumps(document), HEIGHT, WIDTH)
    assert again.hands_visible is not None
    assert again.hands_visible[0].sum(dim=-1).tolist() == [21, 0]
    again = to_edited(again, HEIGHT, WIDTH)["people"][0]["hand_left_keypoints_2d"]
    assert again == document["people"][0]["hand_left_keypoints_2d"]


def test_a_pasted_pose_of_fractions_is_read() -> None:
    points = edited()["people"][0]["pose_keypoints_2d"]
    points = [value / (WIDTH, HEIGHT, 1)[place % 3] for place, value in enumerate(points)]
    again = read_edited(json.dumps([{"people": [{"pose_keypoints_2d": points}]}]), HEIGHT, WIDTH)
    torch.testing.assert_close(again.xy, library()[0].keypoints.xy)


def test_every_frame_of_a_text_is_a_row_and_one_that_lacks_the_person_holds_the_last() -> None:
    frames = [to_edited(pose.keypoints, HEIGHT, WIDTH) for pose in library()[:3]]
    again = read_edited(json.dumps(frames), HEIGHT, WIDTH)
    expected = Keypoints.cat([pose.keypoints for pose in library()[:3]])
    assert torch.equal(again.visible, expected.visible)
    torch.testing.assert_close(again.xy[expected.visible], expected.xy[expected.visible])
    frames[1]["people"] = []
    again = read_edited(json.dumps(frames), HEIGHT, WIDTH)
    torch.testing.assert_close(again.xy[1], again.xy[0])
    frames[1] = to_edited(library()[0].keypoints, HEIGHT, WIDTH)
    frames[1]["people"][0]["pose_keypoints_2d"][1::3] = [-5.0] * 18
    with pytest.raises(PoseError, match="pose number 2 of 3 is inside the frame"):
        read_edited(json.dumps(frames), HEIGHT, WIDTH)


@pytest.mark.parametrize(("person", "number"), [(0, 0), (1, 1), (None, 0), ("1", 0)])
def test_a_text_names_its_person_or_means_the_largest(person: Any, number: int) -> None:
    large, small = (to_edited(library()[n].keypoints, HEIGHT, WIDTH)["people"][0] for n in (0, 5))
    small["pose_keypoints_2d"] = [value / 2 for value in small["pose_keypoints_2d"]]
    small["pose_keypoints_2d"][2::3] = [1] * 18
    document = edited(people=[large, small], pcdm_person=person)
    again = read_edited(json.dumps(document), HEIGHT, WIDTH)
    expected = [large, small][number]["pose_keypoints_2d"]
    assert to_edited(again, HEIGHT, WIDTH)["people"][0]["pose_keypoints_2d"] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("12", r"\w{4}"),
        ('{"people": []}', "nobody|no person"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', r"\w{4}"),
        (json.dumps(edited(hidden=tuple(range(18)))), r"\w{4}"),
        (json.dumps(edited(canvas_height=-1)), r"\w{4}"),
        ('{"people": [{"pose_keypoints_2d": [NaN, 2, 1]}]}', r"\w{4}"),
    ],
)
def test_a_text_that_is_no_pose_gives_a_sentence(text: str, message: str) -> None:
    with pytest.raises(PoseError, match=message):
        read_edited(text, HEIGHT, WIDTH)


def test_a_figure_wholly_outside_the_frame_gives_a_sentence() -> None:
    document = edited()
    points = document["people"][0]["pose_keypoints_2d"]
    points[0::3] = [x + 2 * WIDTH for x in points[0::3]]
    with pytest.raises(PoseError, match="No joint of the pose is inside the frame"):
        read_edited(json.dumps(document), HEIGHT, WIDTH)


# --- the library ---


def distance(a: Keypoints, b: Keypoints) -> float:
    """The mean distance of joints in trunks, both poses centred on the joints that both show.

    A joint of the body that only one of them shows is a trunk away.
    """
    both = (a.visible & b.visible)[0]
    alone = float((a.visible ^ b.visible)[0, 1:14].sum())
    first, second = (body_of(pose, (768, 512)) for pose in (a, b))
    places = [torch.from_numpy(body[0] / trunk_length(*body))[both] for body in (first, second)]
    off = (places[0] - places[0].mean(dim=0)) - (places[1] - places[1].mean(dim=0))
    return (float(off.norm(dim=-1).sum()) + alone) / (float(both.sum()) + alone)


def test_the_library_shows_poses_of_every_kind() -> None:
    poses = library()
    assert len(poses) >= 120
    assert len({pose.name.lower() for pose in poses}) == len(poses)
    groups = [pose.group for pose in poses]
    kinds = ("Front", "Turned", "Side", "Back", "Walking", "Seated", "Reaching", "Sport",
             "Dancing", "Floor", "Kneeling", "Lying", "Close-up")  # fmt: skip
    for group in kinds:
        assert groups.count(group) >= 6, group
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)


def test_no_two_poses_of_the_library_are_nearly_the_same() -> None:
    twins = [
        (a.name, b.name)
        for a, b in combinations(library(), 2)
        if min(distance(a.keypoints, pose) for pose in (b.keypoints, b.keypoints.mirrored())) < 0.1
    ]
    assert not twins
    one = library()[0].keypoints
    assert distance(one, Keypoints(one.xy + 0.1, one.visible)) < 1e-9  # centring takes a shift out


def test_the_poses_stand_inside_their_frame_with_whole_bodies() -> None:
    for pose in library():
        visible = pose.keypoints.visible[0]
        xy = pose.keypoints.xy[0][visible]
        if pose.group == "Close-up":  # of which the frame cuts off the rest
            assert visible[[1, 2, 5]].all(), pose.name
            assert ((xy >= 0) & (xy <= 1)).all(), pose.name
            continue
        assert visible[1:14].all(), f"{pose.name}: a joint of the body is missing"
        assert xy.min() >= 0.03, pose.name
        assert xy.max() <= 0.97, pose.name


def test_crossed_legs_cross_and_an_ankle_lies_on_the_knee() -> None:
    """Seen from before: the left ankle lies on the right of the right one."""
    crossed = [pose for pose in library() if "cross-legged" in pose.name]
    assert len(crossed) == 2
    for pose in crossed:
        xy = pose.keypoints.xy[0]
        assert xy[Joint.LEFT_ANKLE, 0] < xy[Joint.RIGHT_ANKLE, 0], pose.name
        assert xy[Joint.LEFT_KNEE, 0] > xy[Joint.RIGHT_KNEE, 0], pose.name
    (pose,) = (pose for pose in library() if pose.name == "Ankle on the knee")
    xy = pose.keypoints.to_pixels(768, 512)[0]
    thigh = (xy[Joint.RIGHT_HIP] - xy[Joint.RIGHT_KNEE]).norm()
    assert (xy[Joint.LEFT_ANKLE] - xy[Joint.RIGHT_KNEE]).norm() < 0.4 * thigh


def test_a_pose_seen_from_behind_has_no_face() -> None:
    for pose in library():
        face = pose.keypoints.visible[0, [0, 14, 15]]
        left_of_right = pose.keypoints.xy[0, 5, 0] < pose.keypoints.xy[0, 2, 0]
        if pose.group == "Back":
            assert left_of_right
            assert not face.any() or "looking" in pose.name
        if pose.group == "Front":
            assert not left_of_right
            assert face.all()


# --- what the script reads ---


def test_the_scripts_tables_are_those_of_the_renderer_and_the_library(root: Path) -> None:
    shipped = json.loads((root / "web" / "pose_editor.json").read_text(encoding="utf-8"))
    expected = json.loads(json.dumps(editor_tables()))
    assert shipped == expected, "run `python -m training.tools.make_pose_library`"
    assert shipped["colours"] == [list(colour) for colour in COLOURS]
    assert shipped["limbs"] == [list(limb) for limb in LIMBS]
    assert shipped["poses"] == json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))["poses"]


def test_fitting_a_pose_keeps_it_where_the_sizes_agree() -> None:
    pose = library()[3].keypoints
    torch.testing.assert_close(fit_pose(pose, (300, 200), (150, 100)).xy, pose.xy)
