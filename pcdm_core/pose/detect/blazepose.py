"""BlazePose: the two networks that ship, from a picture to 33 landmarks of each person.

The networks are Google's, Apache-2.0 (`pcdm_core/weights/pose`); they run on LiteRT, which is
imported when a detector is made. What stands between them is ours: anchors, suppression, the turned
crop, and the refinement by heat maps. Source of the constants: MediaPipe's graphs
`pose_detection_cpu.pbtxt`, `pose_detection_to_roi.pbtxt` and `pose_landmark_by_roi_cpu.pbtxt`;
paper: Bazarevsky et al. 2020, arXiv 2006.10204.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

FOLDER = Path(__file__).resolve().parents[2] / "weights" / "pose"
DETECTOR, LANDMARKS = "pose_detection.tflite", "pose_landmark_full.tflite"

LANDMARK_COUNT = 33
# Where each point finds its mirror image; the last six help to place the body.
_PAIRS = (
    (1, 4),
    (2, 5),
    (3, 6),
    (7, 8),
    (9, 10),
    *((point, point + 1) for point in range(11, 33, 2)),
)
_MIRROR = [{**dict(_PAIRS), **{b: a for a, b in _PAIRS}}.get(point, point) for point in range(39)]
_AUXILIARY = (33, 34)  # the centre and the reach of the body, from which the next crop is made
_DETECTOR_SIZE, _CROP_SIZE, _HEAT_SIZE = 224, 256, 64
_LONG = 1.3  # from here on a picture counts as long
_OVERLAP = 0.3  # boxes that share more of their area are of one person
_ROOM = 1.25  # of a crop round the body's circle
_HEAT_REACH = 3  # cells each way
_HEAT_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Crop:
    """A turned square of a picture, in pixels; `angle` in radians turns it clockwise."""

    x: float
    y: float
    size: float
    angle: float

    @classmethod
    def whole(cls, picture: Tensor) -> Crop:
        """The smallest one that holds a picture `[3, H, W]`."""
        height, width = picture.shape[-2:]
        return cls(width / 2, height / 2, max(height, width), 0.0)

    @classmethod
    def between(cls, centre: Floats, reach: Floats, room: float = _ROOM) -> Crop:
        """Upright along the line from the body's centre to a point on its circle."""
        dx, dy = (float(value) for value in reach - centre)
        angle = math.pi / 2 - math.atan2(-dy, dx)
        angle -= 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
        return cls(float(centre[0]), float(centre[1]), 2 * room * math.hypot(dx, dy), angle)

    def to_picture(self, xy: Floats) -> Floats:
        """Fractions of the crop `[..., 2]` as pixels of the picture."""
        cos, sin = math.cos(self.angle) * self.size, math.sin(self.angle) * self.size
        x, y = xy[..., 0] - 0.5, xy[..., 1] - 0.5
        return np.stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y], axis=-1)

    def cut(self, picture: Tensor, size: int) -> Tensor:
        """`[3, H, W]` to `[3, size, size]`, bilinear; 0 outside of the picture."""
        # Averaged first where a pixel of the crop covers many, so that none is left out.
        shrink = max(int(min(self.size / size, *picture.shape[-2:])), 1)
        small = F.avg_pool2d(picture[None], shrink) if shrink > 1 else picture[None]
        height, width = small.shape[-2:]
        xy = self.to_picture(_grid(size)) / shrink
        grid = torch.from_numpy(xy / [width, height] * 2 - 1).to(small)
        return F.grid_sample(small, grid[None], align_corners=False)[0]


@dataclass(frozen=True)
class Landmarks:
    """33 points of one person (BlazePose's order).

    Attributes:
        xyz: float64 `[33, 3]`: pixels of the picture, and depth in pixels (smaller is nearer).
        visible: float64 `[33]` in [0, 1]: neither hidden nor outside, as the network believes.
        present: float64 `[33]` in [0, 1]: inside the crop, as the network believes.
        score: that there is a person at all.
    """

    xyz: Floats
    visible: Floats
    present: Floats
    score: float


class BlazePose:
    """Both networks in memory; one at a time may use them."""

    def __init__(self, folder: str | os.PathLike[str] = FOLDER) -> None:
        """Load them.

        Raises:
            ImportError: LiteRT is not installed, or does not work here.
        """
        from ai_edge_litert.interpreter import Interpreter

        self._detector: Any = Interpreter(str(Path(folder) / DETECTOR), num_threads=1)
        self._landmarker: Any = Interpreter(str(Path(folder) / LANDMARKS), num_threads=1)
        self._anchors = _anchors()

    def crops(self, picture: Tensor, threshold: float, *, in_parts: bool = False) -> list[Crop]:
        """Round everybody who may be there, the surest first.

        Args:
            picture: `[3, H, W]` in [0, 1].
            threshold: of the score, in [0, 1].
            in_parts: search overlapping squares along the longer side of a long picture, and not
                the whole. The network sees 224 pixels and overlooks the small people of a group.
        """
        windows = _squares(picture) if in_parts else [Crop.whole(picture)]
        if not windows:
            return []
        finds = [self._boxes(picture, window, threshold) for window in windows]
        boxes, scores = (np.concatenate(parts) for parts in zip(*finds, strict=True))
        crops = [Crop.between(box[2], box[3]) for box in _suppressed(boxes, scores)]
        return [crop for crop in crops if crop.size >= 1]

    def _boxes(self, picture: Tensor, window: Crop, threshold: float) -> tuple[Floats, Floats]:
        """`[N, 6, 2]` in pixels and `[N]`: a box's centre and half size (of the head), four points
        (the body's centre and its reach are the first two), and the scores."""
        # This network takes [-1, 1]; outside of the picture is black.
        raw, logits = _run(self._detector, window.cut(picture, _DETECTOR_SIZE) * 2 - 1)
        if raw.shape[-1] == 1:
            raw, logits = logits, raw
        scores = _sigmoid(logits.reshape(-1))
        sure = scores >= threshold
        boxes, anchors = raw.reshape(-1, 6, 2)[sure] / _DETECTOR_SIZE, self._anchors[sure]
        boxes[:, 1] *= window.size / 2
        boxes[:, 0] = window.to_picture(boxes[:, 0] + anchors)
        boxes[:, 2:] = window.to_picture(boxes[:, 2:] + anchors[:, None])
        return boxes, scores[sure]

    def landmarks(
        self, picture: Tensor, crop: Crop, *, mirrored: bool = False
    ) -> tuple[Landmarks, Crop]:
        """One person's landmarks, and the crop that they suggest for a second look.

        Args:
            picture: `[3, H, W]` in [0, 1].
            crop: round the person.
            mirrored: show the network the mirrored crop, and turn its answer back.
        """
        pixels = crop.cut(picture, _CROP_SIZE)
        outputs = _run(self._landmarker, pixels.flip(-1) if mirrored else pixels)
        by_size = {output.size: output for output in outputs}
        rows = by_size[39 * 5].reshape(39, 5)
        heat = by_size[_HEAT_SIZE * _HEAT_SIZE * 39].reshape(_HEAT_SIZE, _HEAT_SIZE, 39)
        xy = _refined(rows[:, :2] / _CROP_SIZE, _sigmoid(heat))
        if mirrored:
            xy, rows = xy[_MIRROR] * [-1, 1] + [1, 0], rows[_MIRROR]
        places = crop.to_picture(xy)
        depth = rows[:, 2:3] / _CROP_SIZE * crop.size
        person = Landmarks(
            xyz=np.concatenate([places, depth], axis=1)[:LANDMARK_COUNT],
            visible=_sigmoid(rows[:LANDMARK_COUNT, 3]),
            present=_sigmoid(rows[:LANDMARK_COUNT, 4]),
            score=float(by_size[1].reshape(())),
        )
        centre, reach = (places[point] for point in _AUXILIARY)
        return person, Crop.between(centre, reach)


def _squares(picture: Tensor) -> list[Crop]:
    """Along the longer side, where that is much longer; they overlap by half at least."""
    height, width = picture.shape[-2:]
    short, long = sorted((height, width))
    if long < _LONG * short:
        return []
    count = math.ceil(2 * (long / short - 1)) + 1
    places = np.linspace(short / 2, long - short / 2, count).tolist()
    across = short / 2
    return [
        Crop(*((place, across) if width > height else (across, place)), short, 0.0)
        for place in places
    ]


def _run(interpreter: Any, picture: Tensor) -> list[Floats]:
    """`[3, S, S]` through a network of one input; all its outputs."""
    interpreter.allocate_tensors()
    pixels = picture.permute(1, 2, 0)[None].to(torch.float32).contiguous().cpu().numpy()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    outputs = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
    return [output.astype(np.float64) for output in outputs]


def _anchors() -> Floats:
    """`[2254, 2]`: the cell that each of the detector's boxes belongs to."""
    # Strides of 8, 16 and three times 32 pixels with two boxes a cell; the last share
    # their cells: six in a row.
    layers = ((28, 2), (14, 2), (7, 6))
    return np.concatenate(
        [np.repeat(_grid(cells).reshape(-1, 2), boxes, axis=0) for cells, boxes in layers]
    )


def _grid(cells: int) -> Floats:
    """`[cells, cells, 2]`: x and y of the middles of a square's cells, as fractions of it."""
    line = (np.arange(cells) + 0.5) / cells
    return np.stack(np.meshgrid(line, line, indexing="xy"), axis=-1)


def _suppressed(boxes: Floats, scores: Floats) -> list[Floats]:
    """One box `[6, 2]` a person, the mean of those that overlap the best, weighted by score."""
    people: list[Floats] = []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        same = _overlap(boxes[order[0]], boxes[order]) > _OVERLAP
        same[0] = True
        group = order[same]
        people.append(np.average(boxes[group], axis=0, weights=scores[group]))
        order = order[~same]
    return people


def _overlap(box: Floats, boxes: Floats) -> Floats:
    low = np.maximum(box[0] - box[1], boxes[:, 0] - boxes[:, 1])
    high = np.minimum(box[0] + box[1], boxes[:, 0] + boxes[:, 1])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (2 * boxes[:, 1]).prod(axis=1)
    union = (2 * box[1]).prod() + areas - shared
    return shared / np.maximum(union, 1e-12)


def _refined(xy: Floats, heat: Floats) -> Floats:
    """Each point moved to the centre of its heat `[64, 64, N]` nearby, where that is sure."""
    moved = xy.copy()
    for point, (x, y) in enumerate(xy):
        column, row = int(x * _HEAT_SIZE), int(y * _HEAT_SIZE)
        if not (0 <= column < _HEAT_SIZE and 0 <= row < _HEAT_SIZE):
            continue
        rows, columns = (
            np.arange(max(cell - _HEAT_REACH, 0), min(cell + _HEAT_REACH + 1, _HEAT_SIZE))
            for cell in (row, column)
        )
        near = heat[np.ix_(rows, columns)][..., point]
        if near.max() >= _HEAT_CONFIDENCE:
            weights = near / near.sum()
            centre = weights.sum(axis=0) @ columns, weights.sum(axis=1) @ rows
            moved[point] = np.divide(centre, _HEAT_SIZE)
    return moved


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -100, 100)))
