"""Skeletons that other programs drew: read to the pixel, or refused by the drawing's name."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core.images import from_uint8, load_picture
from pcdm_core.pose.detect import DrawingError, detect_people
from pcdm_core.pose.editor import library
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Joint
from pcdm_core.pose.read_any import read_pose_of_picture
from pcdm_core.pose.render import draw_people, people_of
from pcdm_core.pose.skeleton_image.conventions import is_drawing
from pcdm_core.pose.skeleton_image.read import SkeletonError, SkeletonReading, read_skeleton
from tests.core.pose_dialects import BODY, HEIGHT, WIDTH, aux_dwpose
from tests.core.skeleton_drawings import (
    Picture,
    draw_controlnet,
    draw_dwposes_hands,
    draw_face,
    draw_lines,
    draw_mmpose,
    draw_openpose,
    face_points,
)
from tests.core.test_skeleton_reading import with_hands
from tests.core.true_poses import EXAMPLES

XY = np.array(BODY, dtype=np.float64)


def draw(**options: object) -> Picture:
    return draw_controlnet(XY, HEIGHT, WIDTH, **options)  # pyright: ignore[reportArgumentType]


def read(picture: Picture) -> SkeletonReading:
    return read_skeleton(from_uint8(picture))


def refusal(picture: Picture) -> str:
    """Why a picture is refused, also where any picture may be given."""
    with pytest.raises(SkeletonError) as refused:
        read_pose_of_picture(from_uint8(picture))
    with pytest.raises(DrawingError, match="flat drawing"):
        detect_people(from_uint8(picture))
    return str(refused.value)


def assert_is_the_person(reading: SkeletonReading, pixels: float = 1.0) -> None:
    assert reading.people.visible.all()
    off = np.abs(reading.people.xy[0].numpy() * (WIDTH, HEIGHT) - 0.5 - XY)
    assert off.max() <= pixels
    assert "ands are drawn" not in str(reading.report)
    assert not any("hands" in warning for warning in reading.warnings)


@pytest.mark.parametrize("dimming", [0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_limbs_may_be_dimmed_to_any_share(dimming: float) -> None:
    assert_is_the_person(read(draw(dimming=dimming)))


@pytest.mark.parametrize("dimming", [0.6, 1.0])
@pytest.mark.parametrize("radius", [2, 3, 6, 12])
def test_discs_may_have_any_radius(radius: int, dimming: float) -> None:
    assert_is_the_person(read(draw(dimming=dimming, radius=lambda _: radius, thickness=radius)))


def test_a_figure_from_the_side_keeps_its_shoulders_in_undimmed_limbs() -> None:
    """A limb in its joint's own colour looks like that joint anywhere."""
    side = XY.copy()
    places = {Joint.NECK: (256, 190), Joint.RIGHT_SHOULDER: (257, 185),
              Joint.RIGHT_ELBOW: (202, 338), Joint.RIGHT_WRIST: (204, 486),
              Joint.LEFT_SHOULDER: (256, 196), Joint.LEFT_ELBOW: (314, 340),
              Joint.LEFT_WRIST: (409, 437)}  # fmt: skip
    for joint, place in places.items():
        side[joint] = place
    picture = draw_controlnet(side, HEIGHT, WIDTH, dimming=1.0, radius=lambda _: 4, thickness=4)
    off = read(picture).people.xy[0].numpy() * (WIDTH, HEIGHT) - 0.5 - side
    assert np.abs(off[list(places)]).max() <= 2


def test_discs_of_one_figure_may_differ() -> None:
    """Editors in three dimensions draw what is near the camera larger."""
    for spread in (5, 11):
        assert_is_the_person(read(draw(radius=lambda joint, s=spread: 3 + joint * 7 % s)))


def test_limbs_may_be_blended_over_the_discs() -> None:
    assert_is_the_person(read(draw(blend=True)), 2.0)


def test_a_back_view_may_lack_its_face_and_a_front_view_is_said_to_be_headless() -> None:
    visible = np.ones(18, dtype=bool)
    visible[[0, 14, 15, 16, 17]] = False
    report = str(read(draw(visible=visible)).report)
    assert "it is headless" in report
    back = XY * (-1, 1) + (WIDTH, 0)
    reading = read(draw_controlnet(back, HEIGHT, WIDTH, visible=visible))
    assert int(reading.people.visible.sum()) == 13
    assert "headless" not in str(reading.report)


def test_a_face_and_hands_over_the_body_hide_no_joint() -> None:
    picture = draw()
    draw_face(picture, face_points(XY))
    hands = with_hands(read_pose(aux_dwpose()), 3).hands_xy
    assert hands is not None
    draw_dwposes_hands(picture, hands[0].numpy() * (WIDTH, HEIGHT))
    reading = read(picture)
    assert reading.people.visible.all()
    off = np.abs(reading.people.xy[0].numpy() * (WIDTH, HEIGHT) - 0.5 - XY)
    assert off.max() <= 3  # a hand's first dot lies on the wrist


@pytest.mark.parametrize("radius", [3, 5, 8])
def test_openposes_own_drawing_is_refused_by_its_name(radius: int) -> None:
    assert "OpenPose's own colours" in refusal(draw_openpose(XY, HEIGHT, WIDTH, radius))


@pytest.mark.parametrize("radius", [3, 4, 8])
def test_mmposes_drawing_is_refused_by_its_name(radius: int) -> None:
    assert "mmpose's colours" in refusal(draw_mmpose(XY, HEIGHT, WIDTH, radius))


def test_stray_joints_without_a_trunk_are_no_pose() -> None:
    visible = np.zeros(18, dtype=bool)
    visible[[Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE, Joint.LEFT_KNEE, Joint.LEFT_ANKLE]] = True
    assert "no trunk" in refusal(draw(visible=visible))


def test_a_drawing_of_anything_else_is_refused_and_not_detected_in() -> None:
    silhouette = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    for a, b in ((0, 1), (1, 8), (1, 11), (8, 10), (11, 13), (2, 4), (5, 7)):
        draw_lines(silhouette, XY[a], XY[b], (0, 0, 0), 12)
    lines = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    draw_lines(lines, XY[0], XY[10], (200, 40, 90), 1)
    for picture in (silhouette, lines):
        assert refusal(picture)


@pytest.mark.parametrize("quality", [75, 95])
def test_a_saved_drawing_is_one_and_a_photograph_is_none(quality: int) -> None:
    def saved(picture: Picture) -> Picture:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    for picture in (draw(), draw(dimming=1.0), draw_openpose(XY, HEIGHT, WIDTH)):
        assert is_drawing(picture)
        assert is_drawing(saved(picture))
    for file in sorted(EXAMPLES.glob("*/*.png")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        assert not is_drawing(pixels), file
        assert not is_drawing(saved(pixels)), file


@pytest.mark.parametrize(("kind", "flat"), [("wall", False), ("paper", True)])
def test_thin_parts_on_a_wall_of_the_clothes_colour_are_no_drawing(kind: str, flat: bool) -> None:
    """Head, hands and shoes of a person stand out, and the wall is as uneven as light makes it."""
    rng = np.random.default_rng(3)
    uneven = np.add.outer(np.linspace(-14, 14, HEIGHT), np.linspace(-9, 9, WIDTH))[..., None]
    ground = 120 + (uneven + rng.normal(0, 3, (HEIGHT, WIDTH, 1)) if kind == "wall" else 0 * uneven)
    picture = np.repeat(ground, 3, axis=2)
    for a, b in ((0, 1), (4, 3), (7, 6), (10, 9), (13, 12)):
        lines = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        draw_lines(lines, XY[a], XY[b], (255, 255, 255), 4)
        shade = np.array([205, 150, 60]) + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
        picture = np.where(lines > 0, shade, picture)
    assert is_drawing(picture.clip(0, 255).astype(np.uint8)) == flat


def test_dwposes_json_is_drawn_and_read_back_to_the_pixel() -> None:
    """At 512 x 512; a joint under another's disc may lie anywhere below it."""
    for pose in library()[::4]:
        picture = draw_people(people_of(pose.keypoints), 512, 512)
        people = read_skeleton(from_uint8(picture)).people
        pixels = torch.floor(pose.keypoints.xy[0] * 512)
        inside = ((pixels >= 0) & (pixels < 512)).all(dim=-1) & pose.keypoints.visible[0]
        apart = (pixels[:, None] - pixels).norm(dim=-1) + 99.0 * torch.eye(18)
        free = inside & (apart.amin(dim=1) > 9)
        assert people.visible[0][free].all(), pose.name
        off = (people.xy[0] * 512 - 0.5 - pixels).abs().amax(dim=-1)
        assert off[free].max() <= 1, pose.name


def test_the_examples_are_photographs() -> None:
    picture = load_picture(EXAMPLES / "000000" / "00.png")
    with pytest.raises(SkeletonError):
        read_skeleton(picture)
