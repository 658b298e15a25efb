"""One person in the exact shape of every dialect of pose data that people bring."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.core.one_person import (
    BODY,
    HEIGHT,
    LEFT_HAND,
    MISSING,
    RIGHT_HAND,
    WIDTH,
    Dialect,
    body_18,
    body_25,
    canvas,
    coco_17,
    flat,
    scored_points,
    whole_body_133,
    whole_body_134,
)
from tests.core.producer_dialects import OF_PRODUCERS


def aux_openpose() -> Any:
    """controlnet_aux's OpenposePreprocessor: 0 to 1, confidence 1, parts that are off are None."""
    body = flat(body_18(scale=(WIDTH, HEIGHT)))
    parts = dict.fromkeys(("face", "hand_left", "hand_right"))
    person = {"pose_keypoints_2d": body, **{f"{part}_keypoints_2d": None for part in parts}}
    return [{"people": [person], "canvas_height": 576, "canvas_width": 384}]


def aux_dwpose() -> Any:
    """controlnet_aux's DWPreprocessor: pixels, confidence 1."""
    person = {
        "pose_keypoints_2d": flat(body_18()),
        "face_keypoints_2d": flat(scored_points([(240 + n, 110 + n) for n in range(68)])),
        "hand_left_keypoints_2d": flat(scored_points(LEFT_HAND)),
        "hand_right_keypoints_2d": flat(scored_points(RIGHT_HAND)),
    }
    return [canvas(people=[person])]


def sdpose() -> Any:
    """ComfyUI's SDPoseKeypointExtractor: pixels, true scores, feet, the hands' names swapped."""
    rest = whole_body_134()
    person = {
        "pose_keypoints_2d": flat(body_18(0.83, (-1.0, -1.0, 0.02))),
        "foot_keypoints_2d": flat(rest[18:24]),
        "face_keypoints_2d": flat([*rest[24:92], rest[14], rest[15]]),
        "hand_right_keypoints_2d": flat(rest[92:113]),
        "hand_left_keypoints_2d": flat(rest[113:134]),
    }
    return [{"canvas_width": WIDTH, "canvas_height": HEIGHT, "people": [person]}]


def editor() -> Any:
    """ComfyUI's pose editors: nested points, nulls for what is gone, empty lists for parts."""
    body: list[list[float | None]] = [list(point) for point in body_18()]
    body[MISSING] = [None, None, 1]
    parts = {f"{part}_keypoints_2d": [] for part in ("face", "hand_left", "hand_right")}
    return canvas(people=[{"pose_keypoints_2d": body, **parts}])


def old_editor() -> Any:
    """openpose-editor's own file: one list of points for each person, no confidence."""
    body = [[float(x), float(y)] for x, y in BODY]
    body[MISSING] = [-1.0, -1.0]
    return {"width": WIDTH, "height": HEIGHT, "keypoints": [body]}


def openpose_25() -> Any:
    """OpenPose's default file: BODY_25, the size of the picture is nowhere."""
    person = {
        "person_id": [-1],
        "pose_keypoints_2d": flat(body_25()),
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": [],
        "hand_right_keypoints_2d": [],
        "pose_keypoints_3d": [],
    }
    return {"version": 1.3, "people": [person]}


def openpose_18() -> Any:
    """OpenPose's older file: COCO's 18 joints under `pose_keypoints`."""
    return {"version": 1.0, "people": [{"pose_keypoints": flat(body_18(0.64))}]}


def openpose_signed() -> Any:
    """OpenPose with `--keypoint_scale 4`: -1 to 1, and 0 0 0 for what is missing."""
    body = [
        (2 * x / WIDTH - 1, 2 * y / HEIGHT - 1, c) if c else (0.0, 0.0, 0.0)
        for x, y, c in body_18(0.7)
    ]
    return {"version": 1.7, "people": [{"pose_keypoints_2d": flat(body)}]}


def coco_file() -> Any:
    """COCO's person_keypoints: 0, 1, 2 for missing, hidden and seen."""
    triples = [(x, y, 2.0) if c > 0.3 else (0.0, 0.0, 0.0) for x, y, c in coco_17()]
    annotation = {"id": 5, "image_id": 42, "category_id": 1, "keypoints": flat(triples)}
    image = {"id": 42, "file_name": "000042.jpg", "width": WIDTH, "height": HEIGHT}
    return {"images": [image], "annotations": [annotation]}


def coco_whole_body_file() -> Any:
    """COCO-WholeBody's annotations: the hands in lists of their own."""
    document = coco_file()
    document["annotations"][0] |= {
        "foot_kpts": [0.0] * 18,
        "face_kpts": [0.0] * 204,
        "lefthand_kpts": flat(scored_points(LEFT_HAND, 1.0)),
        "righthand_kpts": flat(scored_points(RIGHT_HAND, 1.0)),
    }
    return document


def alphapose() -> Any:
    """AlphaPose's results: a list of people, each with its picture's name."""
    return [{"image_id": "a.jpg", "category_id": 1, "keypoints": flat(coco_17()), "score": 2.9}]


def mmpose(count: int = 17) -> Any:
    """mmpose's demo: points and their scores apart."""
    points = coco_17() if count == 17 else whole_body_133()
    instance = {
        "keypoints": [[x, y] for x, y, _ in points],
        "keypoint_scores": [score for *_, score in points],
        "bbox": [[100.0, 80.0, 400.0, 700.0]],
    }
    return {"meta_info": {}, "instance_info": [{"frame_id": 0, "instances": [instance]}]}


def dwpose_133() -> Any:
    """rtmlib's and DWPose's raw output: 133 points of x, y, score for each person."""
    return [[list(point) for point in whole_body_133()]]


def dwpose_134() -> Any:
    return {"keypoints": [list(point) for point in whole_body_134()], **canvas()}


def patn_csv() -> str:
    """DeepFashion, PATN's family: y before x, -1 for missing, pixels of 256 x 176."""
    ys, xs = ([-1 if n == MISSING else round(p[axis] * f) for n, p in enumerate(BODY)]
              for axis, f in ((1, 256 / HEIGHT), (0, 176 / WIDTH)))  # fmt: skip
    name = "fashionWOMENTees_Tanksid0000415303_3back.jpg"
    return f"name:keypoints_y:keypoints_x\n{name}: {ys}: {xs}\n"


def gfla_txt() -> str:
    """DeepFashion, GFLA's family: x y, pixels of 256 x 256 with margins of 40."""
    lines = [f"{x * 176 / WIDTH + 40:.0f} {y * 256 / HEIGHT:.0f}" for x, y in BODY]
    lines[MISSING] = "-1 -1"
    return "\n".join(lines) + "\n"


def pcdms_txt() -> str:
    """PCDMs' normalized_pose_txt: 18 lines of x y, 0 to 1."""
    lines = [f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in BODY]
    lines[MISSING] = "-1 -1"
    return "\n".join(lines) + "\n"


DIALECTS = {
    "aux OpenPose": Dialect(aux_openpose, says="fractions of the picture"),
    "aux DWPose": Dialect(aux_dwpose, hands=True, says="pixels"),
    "SDPose": Dialect(sdpose, hands=True, says="SDPose"),
    "pose editor": Dialect(editor, says="BODY_18"),
    "old pose editor": Dialect(old_editor, says="several people"),
    "OpenPose BODY_25": Dialect(openpose_25, says="BODY_25"),
    "OpenPose BODY_18": Dialect(openpose_18, says="BODY_18"),
    "OpenPose -1 to 1": Dialect(openpose_signed, says="from -1 to 1"),
    "COCO file": Dialect(coco_file, neck_is_made=True, says="COCO annotations"),
    "COCO-WholeBody file": Dialect(
        coco_whole_body_file, hands=True, neck_is_made=True, says="COCO-17"
    ),
    "AlphaPose": Dialect(alphapose, neck_is_made=True, says="list of people"),
    "mmpose": Dialect(mmpose, neck_is_made=True, says="mmpose"),
    "mmpose whole body": Dialect(lambda: mmpose(133), True, True, says="133 points"),
    "133 points": Dialect(dwpose_133, hands=True, neck_is_made=True, says="133 points"),
    "134 points": Dialect(dwpose_134, hands=True, says="134 points"),
    "DeepFashion csv": Dialect(patn_csv, tolerance=3e-3, says="256x176"),
    "DeepFashion txt": Dialect(gfla_txt, tolerance=3e-3, says="margins of 40"),
    "PCDMs txt": Dialect(pcdms_txt, tolerance=1e-7, says="PCDMs' own"),
    **OF_PRODUCERS,
}


def source_of(dialect: Dialect) -> Any:
    """What a caller hands to the reader: parsed JSON, or a text."""
    return (
        json.loads(json.dumps(document))
        if not isinstance(document := dialect.make(), str)
        else document
    )


def expected_body() -> np.ndarray:
    """[18, 2] in pictures."""
    return np.array(BODY, dtype=np.float64) / (WIDTH, HEIGHT)
