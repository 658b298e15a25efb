"""The picture that a pose was drawn for, and the way from there into another picture's frame.

The rule is the same for every way in (files, editor, skeleton pictures, detectors, batches) and
every use (stages, retargeting, interpolation, drawings): a pose is shown *whole* in the frame, as
`images.fit` shows a picture with "pad". A canvas of the frame's shape is scaled, which changes no
fraction; one of another shape gets margins. Nothing is squashed or cropped here; what happens to
the source picture on its way to the preset's size happens to its frame and to the poses in it.

A pose of a file that does not say its canvas is taken to be drawn for the frame, and `canvas_notes`
says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..images import Fit
from .keypoints import Keypoints

Size = tuple[int, int]
"""Height and width in pixels."""


def fit_pose(pose: Keypoints, size: Size, frame: Size) -> Keypoints:
    """Key points of a picture of `size` in a frame that shows it whole."""
    return pose.moved(Fit.of(*size, *frame, "pad").points).with_canvas(frame)


def in_frame(pose: Keypoints, frame: Size) -> Keypoints:
    """Every row in a frame that shows its canvas whole; a canvas that is unknown stays so."""
    if all(size in (None, frame) for size in pose.canvases):
        return pose
    rows = [
        pose.select(row) if size is None else fit_pose(pose.select(row), size, frame)
        for row, size in enumerate(pose.canvases)
    ]
    return Keypoints.cat(rows)


def says_no_canvas(pose: Keypoints) -> bool:
    """Whether a row came from where a canvas should be said, and was not."""
    return pose.canvas is not None and None in pose.canvases


def canvas_notes(frame: Size, source: Keypoints, target: Keypoints) -> list[str]:
    """What to tell a user of poses whose picture is not the source's, or is not said.

    Args:
        frame: the source picture's.
        source: the source's pose, which should have been drawn for just that picture.
        target: poses that may be other pictures'; only another shape is said of them.
    """
    notes: list[str] = []
    frame_words = _words([frame])
    for name, pose in (("source", source), ("target", target)):
        others = _words(s for s in pose.canvases if s and not _alike(s, frame, name == "target"))
        if says_no_canvas(pose):
            notes.append(
                f"The {name} pose does not say the size of its picture; it is taken to be drawn "
                f"for the source picture's {frame_words}."
            )
        if others and name == "source":
            notes.append(
                f"The source pose was drawn for a picture of {others}, but the source picture is "
                f"{frame_words}. Connect the pose of this very picture, if that is another one's."
            )
        elif others:
            notes.append(
                f"The target pose was drawn for a picture of {others}; it is shown whole in the "
                f"source picture's {frame_words}, with margins."
            )
    return notes


def _alike(size: Size, frame: Size, scaled: bool) -> bool:
    """Whether a canvas is the frame, or (`scaled`) fills it, but for what rounding leaves."""
    if size == frame or not scaled:
        return size == frame
    fit = Fit.of(*size, *frame, "pad")
    sides = zip((fit.box_height, fit.box_width), frame, strict=True)
    return all(abs(shown - side) <= 0.01 * side for shown, side in sides)


def _words(sizes: Iterable[Size]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in dict.fromkeys(sizes))
