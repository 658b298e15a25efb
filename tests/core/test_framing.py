"""Framing: picture and poses come to the preset's size together, and back together at the end."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pcdm_core.images import Fit, FitMode, fit, from_uint8, to_uint8
from pcdm_core.pose.editor import library
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.render import COLOURS
from pcdm_core.pose.retarget import retarget
from tests.core.tiny_pipeline import TEST, tiny_pipeline

POSES = {pose.name: pose.keypoints for pose in library()}
LIBRARY_SIZE = (768, 512)
FRAME = (384, 256)
GREY = 90

# Which part of the standing figure a picture shows (left, top, right, bottom as shares of the
# figure's own frame), and the picture's height and width.
FRAMINGS = {
    "whole, in a wide picture": ((-0.6, -0.05, 1.6, 1.05), (260, 400)),
    "half body": ((0.1, 0.05, 0.9, 0.6), (330, 320)),
    "close-up, tall": ((0.2, 0.02, 0.8, 0.42), (480, 260)),
    "close-up, wide": ((-0.2, 0.02, 1.2, 0.4), (150, 400)),
}
CORE = (0, 1, 2, 5)  # head and shoulders


def framed(pose: Keypoints, box: tuple[float, float, float, float]) -> Keypoints:
    """A pose in a picture that shows only a part of its frame."""
    low, high = torch.tensor(box[:2]).double(), torch.tensor(box[2:]).double()
    xy = (pose.xy - low) / (high - low)
    return Keypoints(xy, pose.visible & ((xy >= 0) & (xy <= 1)).all(-1))


def marked(pose: Keypoints, height: int, width: int) -> torch.Tensor:
    """A grey picture with a square in the joint's colour on each joint."""
    pixels = np.full((height, width, 3), GREY, dtype=np.uint8)
    for joint, (x, y) in enumerate(pose.to_pixels(height, width)[0].tolist()):
        if pose.visible[0, joint]:
            left, top = max(int(x) - 4, 0), max(int(y) - 4, 0)
            pixels[top : int(y) + 5, left : int(x) + 5] = COLOURS[joint]
    return from_uint8(pixels)


def joints_in_place(picture: torch.Tensor, pose: Keypoints) -> list[bool]:
    """Whether the pixel of each joint has the joint's colour, for joints that none other covers."""
    pixels = to_uint8(picture)[0].astype(int)
    height, width = pixels.shape[:2]
    places = pose.to_pixels(height, width)[0]
    matches: list[bool] = []
    for joint in pose.visible[0].nonzero().flatten().tolist():
        others = [other for other in range(18) if other != joint and pose.visible[0, other]]
        apart = (places[others] - places[joint]).abs().amax(-1)
        x, y = (int(value) for value in places[joint].tolist())
        if bool((apart < 14).any()) or not (4 <= x < width - 4 and 4 <= y < height - 4):
            continue
        matches.append(int(np.abs(pixels[y, x] - COLOURS[joint]).max()) < 70)
    return matches


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pad", "squash"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("target", ["Walking left", "Back"])
def test_a_pose_of_another_picture_stays_on_the_canvas_from_the_picture_to_the_result(
    framing: str, target: str, mode: FitMode
) -> None:
    box, size = FRAMINGS[framing]
    source = framed(POSES["Standing"], box)
    picture = marked(source, *size)
    moved = retarget(POSES[target], source, size, target_size=LIBRARY_SIZE).pose

    # On the source's own canvas: nothing beyond it, head and shoulders always there.
    assert moved.xy[moved.visible].min() >= 0
    assert moved.xy[moved.visible].max() <= 1
    for joint in CORE:
        assert moved.visible[0, joint] == POSES[target].visible[0, joint], joint
    if framing.startswith("whole"):
        assert torch.equal(moved.visible, POSES[target].visible)

    preset = replace(TEST, height=FRAME[0], width=FRAME[1], fit=mode)
    pipeline = tiny_pipeline(preset)
    canvases: list[torch.Tensor] = []
    pipeline.inpainting.pose_encoder.register_forward_pre_hook(
        lambda _, inputs: canvases.append(inputs[0][-1:].clone())
    )
    result = pipeline(picture, source, moved, seed=0, steps=1, with_refining=False, restore=True)

    # What the model sees: the source's joints lie on the marks of the fitted picture ...
    source_half, target_half = canvases[0].float().chunk(2, dim=-1)
    fitted, how = fit(picture, *FRAME, mode)
    assert source_half.shape[-2:] == FRAME
    for image in (source_half, fitted):
        right = joints_in_place(image, source.moved(how.points))
        assert right
        assert all(right)
    # ... and the wanted ones on the same canvas.
    right = joints_in_place(target_half, moved.moved(how.points))
    assert right
    assert all(right)

    # Undone: at the source's size, with the wanted joints where they were asked for.
    assert result.image.shape[-2:] == result.mask.shape[-2:] == size
    back = joints_in_place(how.undo(target_half), moved)
    assert len(back) >= 2
    assert np.mean(back) >= 0.8  # resizing smears a disc of nine pixels
    ys, xs = (moved.xy[0, list(CORE)] * torch.tensor([size[1], size[0]])).long().unbind(-1)[::-1]
    there = moved.visible[0, list(CORE)]
    inside = result.mask[0, 0, ys.clamp(0, size[0] - 1), xs.clamp(0, size[1] - 1)]
    assert bool((inside[there] > 0.5).all())


@pytest.mark.parametrize("mode", ["pad", "squash"])
def test_a_pose_lies_in_the_canvas_after_the_fit(mode: FitMode) -> None:
    for box, size in FRAMINGS.values():
        pose = framed(POSES["Standing"], box)
        how = Fit.of(*size, *FRAME, mode)
        there = pose.moved(how.points)
        assert there.xy[there.visible].min() >= 0
        assert there.xy[there.visible].max() <= 1
