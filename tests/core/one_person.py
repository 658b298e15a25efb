"""The person of all dialects, in the lists of points that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

HEIGHT, WIDTH = 768, 512

# A person who stands, in pixels of 768 x 512; OpenPose's 18 joints.
BODY = (
    (256, 120), (256, 190), (200, 192), (180, 280), (170, 360), (312, 188), (330, 282), (344, 358),
    (224, 384), (220, 520), (216, 650), (288, 386), (292, 522), (296, 652), (244, 108), (268, 107),
    (228, 116), (284, 114),
)  # fmt: skip
MISSING = 10  # the right ankle is hidden
LEFT_WRIST, RIGHT_WRIST = BODY[7], BODY[4]

Triple = tuple[float, float, float]


def hand(wrist: tuple[int, int]) -> list[tuple[float, float]]:
    """21 points below a wrist."""
    return [
        (wrist[0] + 3 * (point % 5) - 6.0, wrist[1] + 4.0 * (point // 5)) for point in range(21)
    ]


LEFT_HAND, RIGHT_HAND = hand(LEFT_WRIST), hand(RIGHT_WRIST)


def flat(triples: list[Triple]) -> list[float]:
    return [float(number) for triple in triples for number in triple]


def scored_points(
    points: Any, confidence: float = 1.0, scale: tuple[float, float] = (1.0, 1.0)
) -> list[Triple]:
    return [(x / scale[0], y / scale[1], confidence) for x, y in points]


def body_18(
    confidence: float = 1.0, missing: Triple = (0.0, 0.0, 0.0), scale: Any = (1.0, 1.0)
) -> list[Triple]:
    triples = scored_points(BODY, confidence, scale)
    triples[MISSING] = missing
    return triples


def body_25(confidence: float = 0.87) -> list[Triple]:
    body = body_18(confidence)
    feet = [(215.0 + n, 660.0 + n, confidence) for n in range(6)]
    return [*body[:8], (256.0, 385.0, confidence), *body[8:], *feet]


def coco_17(confidence: float = 0.8, low: float = 0.11) -> list[Triple]:
    order = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
    body = body_18(confidence, (33.0, 44.0, low))
    return [body[joint] for joint in order]


def whole_body_133() -> list[Triple]:
    feet = [(215.0 + n, 660.0 + n, 0.5) for n in range(6)]
    face = [(240.0 + n / 4, 110.0 + n / 4, 0.7) for n in range(68)]
    return [
        *coco_17(),
        *feet,
        *face,
        *scored_points(LEFT_HAND, 0.6),
        *scored_points(RIGHT_HAND, 0.6),
    ]


def whole_body_134(in_openpose_order: bool = True) -> list[Triple]:
    rest = whole_body_133()[17:]
    if in_openpose_order:
        return [*body_18(0.8, (33.0, 44.0, 0.11)), *rest]
    neck = ((200 + 312) / 2, (192 + 188) / 2, 0.8)
    return [*coco_17(), neck, *rest]


def canvas(**more: Any) -> dict[str, Any]:
    return {**more, "canvas_height": HEIGHT, "canvas_width": WIDTH}


class Dialect(NamedTuple):
    """How a dialect looks and what must be understood in it."""

    make: Callable[[], Any]
    hands: bool = False
    neck_is_made: bool = False
    tolerance: float = 1e-6  # in pictures
    says: str = ""  # in the report
