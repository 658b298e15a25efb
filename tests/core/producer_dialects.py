"""One person in the shapes of single programs: detectors, data sets, video models, and pastes."""

from __future__ import annotations

import json
from typing import Any

from pcdm_core.pose.keypoints import Joint
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
)

Triple = tuple[float, float, float]

COCO_NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
NECK = (256.0, 190.0, 0.8)


def halpe_26() -> list[Triple]:
    feet = [(215.0 + n, 660.0 + n, 0.5) for n in range(6)]
    return [*coco_17(), (256.0, 80.0, 0.8), NECK, (256.0, 385.0, 0.8), *feet]


def halpe_136() -> list[Triple]:
    return [*halpe_26(), *whole_body_133()[23:]]


def alphapose_halpe(points: list[Triple]) -> Any:
    """AlphaPose with a Halpe model."""
    return [{"image_id": "0.jpg", "category_id": 1, "keypoints": flat(points), "score": 2.9,
             "box": [150.0, 70.0, 210.0, 620.0], "idx": [0.0]}]  # fmt: skip


def poseflow() -> Any:
    """AlphaPose's tracked result; `scores` is the person's."""
    person = {"keypoints": flat(coco_17()), "scores": 2.8, "idx": 1}
    return {"0.png": [person]}


def alphapose_cmu() -> Any:
    """AlphaPose `--format cmu`."""
    return {"0.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": flat(body_18(0.7))}]}}


def ultralytics() -> Any:
    """`Results.to_json()`."""
    xs, ys, visible = (list(column) for column in zip(*coco_17(0.99, 0.05), strict=True))
    box = {"x1": 150.0, "y1": 80.0, "x2": 360.0, "y2": 680.0}
    return [{"name": "person", "class": 0, "confidence": 0.91, "box": box,
             "keypoints": {"x": xs, "y": ys, "visible": visible}}]  # fmt: skip


def yolo_label() -> str:
    """A line a person: class, box, then x, y and 2, 1 or 0 of each point."""
    points = [(x / WIDTH, y / HEIGHT, 2) if c > 0.3 else (0, 0, 0) for x, y, c in coco_17()]
    numbers = " ".join(f"{number:.6f}" for point in points for number in point[:2] + point[2:])
    return f"0 0.5 0.49 0.41 0.78 {numbers}\n"


def landmarks() -> list[dict[str, float]]:
    """MediaPipe's 33 in fractions."""
    points = {name: (x / WIDTH, y / HEIGHT, c) for name, (x, y, c) in zip(COCO_NAMES, coco_17(0.97), strict=True)}  # fmt: skip  # noqa: E501
    names = ["nose", *["left_eye"] * 3, *["right_eye"] * 3, "left_ear", "right_ear", "nose", "nose",
             *COCO_NAMES[5:11], *["left_wrist", "right_wrist"] * 3, *COCO_NAMES[11:],
             *["left_ankle", "right_ankle"] * 2]  # fmt: skip
    return [
        dict(zip(("x", "y", "z", "visibility"), (*points[n][:2], -0.1, points[n][2]), strict=True))
        for n in names
    ]


def mediapipe_tasks() -> Any:
    """PoseLandmarkerResult."""
    world = [{"x": 0.1, "y": -0.2, "z": 0.3, "visibility": 0.9}] * 33
    return {"pose_landmarks": [landmarks()], "pose_world_landmarks": [world]}


def mediapipe_list() -> Any:
    """`[[lm.x, lm.y, lm.z, lm.visibility] for lm in results.pose_landmarks.landmark]`."""
    return [list(point.values()) for point in landmarks()]


def mediapipe_holistic() -> Any:
    """The JavaScript result of Holistic."""
    hands = [
        [{"x": x / WIDTH, "y": y / HEIGHT, "z": 0.0} for x, y in hand]
        for hand in (LEFT_HAND, RIGHT_HAND)
    ]
    return {"poseLandmarks": landmarks(), "leftHandLandmarks": hands[0],
            "rightHandLandmarks": hands[1]}  # fmt: skip


def dwpose() -> Any:
    """DWPose's own dictionary, as video models store it."""
    subset, score = [[float(n) for n in range(18)]], [[1.02] * 18]
    subset[0][MISSING], score[0][MISSING] = -1.0, 0.11
    hands = [[[x / WIDTH, y / HEIGHT] for x, y in hand] for hand in (LEFT_HAND, RIGHT_HAND)]
    candidate = [[x / WIDTH, y / HEIGHT] for x, y in BODY]
    return {
        "bodies": {"candidate": candidate, "subset": subset, "score": score},
        "hands": hands,
        "hands_score": [[0.9] * 21] * 2,
        "faces": [[[0.5, 0.15]] * 68],
    }


def easy_vitpose() -> Any:
    """y before x, a mapping of people a frame."""
    person = [[y, x, c] for x, y, c in coco_17(0.9)]
    return {"keypoints": [{"0": person}], "skeleton": dict(enumerate(COCO_NAMES))}


def kinetics() -> Any:
    """ST-GCN's Kinetics-skeleton."""
    points = body_18(0.6, scale=(WIDTH, HEIGHT))
    pose = [number for x, y, _ in points for number in (round(x, 6), round(y, 6))]
    skeleton = [{"pose": pose, "score": [c for *_, c in points]}]
    frames = [{"frame_index": 1, "skeleton": skeleton}]
    return {"data": frames, "label": "dancing", "label_index": 3}


def wan_meta() -> Any:
    """Wan-Animate's meta of a frame: BODY_18 and two toes, fractions."""
    scale = (WIDTH, HEIGHT)
    toes = scored_points([(300, 670), (210, 668)], 0.7, scale)
    low = (33.0 / WIDTH, 44.0 / HEIGHT, 0.11)
    return {
        "width": WIDTH, "height": HEIGHT,
        "keypoints_body": [list(p) for p in (*body_18(0.9, low, scale), *toes)],
        "keypoints_left_hand": [list(p) for p in scored_points(LEFT_HAND, 0.8, scale)],
        "keypoints_right_hand": [list(p) for p in scored_points(RIGHT_HAND, 0.8, scale)],
        "keypoints_face": [[0.5, 0.15, 0.9]] * 69,
    }  # fmt: skip


def dress_code() -> Any:
    """x, y, score, label in pixels of 384x512; labels may leave out BODY_25's 8."""
    rows = [[x * 0.75, y * 2 / 3, 0.9, float(n + (n > 7))] for n, (x, y) in enumerate(BODY)]
    rows[MISSING] = [-1.0, -1.0, 0.0, -1.0]
    return {"keypoints": rows}


def by_name() -> Any:
    """Joints by name in a mapping."""
    points = {joint.name.lower(): [float(x), float(y)] for joint, (x, y) in zip(Joint, BODY, strict=True)}  # fmt: skip  # noqa: E501
    del points["right_ankle"]
    return canvas(keypoints=points)


def movenet() -> Any:
    """tfjs pose detection: names in a list, perhaps with x and y one level down as in PoseNet."""
    points = zip(COCO_NAMES, coco_17(0.9), strict=True)
    return [{"score": 0.8, "keypoints": [{"x": x, "y": y, "score": c, "name": name}
                                         for name, (x, y, c) in points]}]  # fmt: skip


def posenet() -> Any:
    camel = [name.split("_")[0] + "".join(w.title() for w in name.split("_")[1:]) for name in COCO_NAMES]  # fmt: skip  # noqa: E501
    points = zip(camel, coco_17(0.9), strict=True)
    return {"score": 0.8, "keypoints": [{"score": c, "part": name, "position": {"x": x, "y": y}}
                                        for name, (x, y, c) in points]}  # fmt: skip


def roboflow() -> Any:
    """Roboflow inference: the box's width and height beside the person's points."""
    points = [{"x": x, "y": y, "confidence": c, "class_id": n, "class": name}
              for n, (name, (x, y, c)) in enumerate(zip(COCO_NAMES, coco_17(0.9), strict=True))]  # fmt: skip  # noqa: E501
    person = {"x": 255.0, "y": 380.0, "width": 210.0, "height": 600.0, "confidence": 0.9,
              "class": "person", "keypoints": points}  # fmt: skip
    return {"predictions": [person], "image": {"width": WIDTH, "height": HEIGHT}}


def sam_3d_body() -> Any:
    """The 70 points in the picture, beside those in space."""
    coco = dict(zip(COCO_NAMES, ([x, y] for x, y, _ in coco_17()), strict=True))
    coco["right_ankle"] = [-1.0, -1.0]
    other = [250.0, 300.0]
    order = [*COCO_NAMES[:9], *COCO_NAMES[11:]]
    points = [*(coco[name] for name in order), *[other] * 26, coco["right_wrist"], *[other] * 20,
              coco["left_wrist"], *[other] * 6, list(NECK[:2])]  # fmt: skip
    person = {"pred_keypoints_2d": points, "pred_keypoints_3d": [[0.1, 0.2, 0.3]] * 70}
    return {"frames": [[person]], "image_size": [HEIGHT, WIDTH]}


def joints_seen() -> dict[str, tuple[float, float]]:
    """COCO's joints by name, without the hidden one."""
    points = zip(COCO_NAMES, coco_17(), strict=True)
    return {name: (x, y) for name, (x, y, c) in points if c > 0.3}


def easymocap() -> Any:
    """EasyMocap's annotations: BODY_25 in `annots`, hands beside it."""
    person = {
        "bbox": [150.0, 70.0, 360.0, 690.0, 0.9], "personID": 0, "isKeyframe": False,
        "keypoints": [list(point) for point in body_25()],
        "handl2d": [[*point, 0.9] for point in LEFT_HAND],
        "handr2d": [[*point, 0.9] for point in RIGHT_HAND],
        "face2d": [[0.0, 0.0, 0.0]] * 70,
    }  # fmt: skip
    return {"filename": "images/1/000000.jpg", "height": HEIGHT, "width": WIDTH, "annots": [person]}


def detectron2() -> Any:
    """`Instances.get_fields()`: all people's points in one array."""
    points = [list(point) for point in coco_17(0.9, 0.02)]
    return {"pred_boxes": [[150.0, 70.0, 360.0, 690.0]], "scores": [0.99], "pred_classes": [0],
            "pred_keypoints": [points], "image_size": [HEIGHT, WIDTH]}  # fmt: skip


def vitpose() -> Any:
    """transformers' `post_process_pose_estimation` with a threshold: `labels` are the numbers."""
    sure = [(number, point) for number, point in enumerate(coco_17()) if point[2] > 0.3]
    person = {"keypoints": [list(point[:2]) for _, point in sure], "scores": [0.8] * len(sure),
              "labels": [number for number, _ in sure], "bbox": [150.0, 70.0, 210.0, 620.0]}  # fmt: skip  # noqa: E501
    return [[person]]


def label_studio() -> Any:
    """Percent of the picture; a box is among the results."""
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    box = {"value": {"x": 9, "y": 9, "width": 30, "height": 60, "rectanglelabels": ["person"]}}
    points = [
        {**sizes, "id": name, "type": "keypointlabels",
         "value": {"x": x / WIDTH * 100, "y": y / HEIGHT * 100, "width": 0.5,
                   "keypointlabels": [name]}} for name, (x, y) in joints_seen().items()
    ]  # fmt: skip
    return [{"id": 1, "annotations": [{"id": 1, "result": [*points, {**sizes, **box}]}],
             "data": {"image": "/data/upload/1.jpg"}}]  # fmt: skip


def labelme() -> Any:
    """Points with labels; a box has two of them."""
    shapes = [{"label": name, "points": [[x, y]], "group_id": 1, "shape_type": "point"}
              for name, (x, y) in joints_seen().items()]  # fmt: skip
    box = {"label": "person", "points": [[150, 70], [360, 690]], "shape_type": "rectangle"}
    return {"version": "5.5.0", "shapes": [*shapes, box], "imagePath": "1.jpg", "imageData": None,
            "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip


def via() -> Any:
    """VGG Image Annotator's project: whole pixels."""
    regions = [{"shape_attributes": {"name": "point", "cx": float(round(x)), "cy": float(round(y))},
                "region_attributes": {"joint": name}} for name, (x, y) in joints_seen().items()]  # fmt: skip  # noqa: E501
    return {"_via_img_metadata": {"1.jpg123": {"filename": "1.jpg", "size": 123,
            "regions": regions}}, "_via_settings": {}}  # fmt: skip


def apple_vision() -> Any:
    """VNHumanBodyPoseObservation: fractions, and y runs upwards."""
    part = {"shoulder": "shoulder_1", "elbow": "forearm", "wrist": "hand", "hip": "upLeg",
            "knee": "leg", "ankle": "foot", "nose": "head", "neck": "neck_1"}  # fmt: skip
    points: dict[str, Any] = {"root": {"x": 0.5, "y": 0.5, "confidence": 0.9}}
    for joint, (x, y, c) in zip(Joint, body_18(0.9), strict=True):
        *side, name = joint.name.lower().split("_")
        key = "_".join([*side, part.get(name, name), "joint"])
        points[key] = {"x": x / WIDTH, "y": 1 - y / HEIGHT, "confidence": c}
    return points


def zed() -> Any:
    """ZED's BODY_18: points in the picture beside those in space."""
    points = [[x, y] for x, y, _ in body_18(missing=(-1.0, -1.0, 0.0))]
    body = {"id": 0, "confidence": 88.0, "keypoint_2d": points, "keypoint": [[0.1, 0.2, -2.0]] * 18}
    return {"is_new": True, "body_list": [body]}


def movenet_array() -> Any:
    """The model's own output, `[1, 1, 17, 3]`: y, x, score in fractions."""
    return [[[[y / HEIGHT, x / WIDTH, c] for x, y, c in coco_17()]]]


def numbered_points() -> Any:
    """`[[id, x, y], ...]`, as tutorials of MediaPipe and YOLO collect them."""
    points = [[n, float(x), float(y)] for n, (x, y) in enumerate(BODY)]
    points[MISSING] = [MISSING, 0, 0]
    return points


def columns() -> Any:
    xs, ys, sure = (list(column) for column in zip(*coco_17(), strict=True))
    return {"width": WIDTH, "height": HEIGHT, "x": xs, "y": ys, "confidence": sure}


def ultralytics_csv() -> str:
    """`Results.to_csv()`: dictionaries in cells."""
    (person,) = ultralytics()
    box, points = (str(person[key]) for key in ("box", "keypoints"))
    return f'name,class,confidence,box,keypoints\nperson,0,0.91,"{box}","{points}"\n'


def by_track() -> Any:
    """People of one picture by their numbers."""
    return {"people": {"1": {"keypoints": flat(body_18(0.9))}}, "width": WIDTH, "height": HEIGHT}


def nineteen() -> Any:
    """BODY_18 and the background."""
    return canvas(people=[{"pose_keypoints_2d": [*flat(body_18()), 0.0, 0.0, 0.0]}])


def numbers_as_text() -> Any:
    return canvas(people=[{"pose_keypoints_2d": [str(number) for number in flat(body_18())]}])


def wide_csv() -> str:
    """A row a picture, as MoveNet's tutorial writes it."""
    titles = [f"{name.upper()}_{axis}" for name in COCO_NAMES for axis in ("x", "y", "score")]
    return f"file_name,{','.join(titles)}\na.jpg,{','.join(map(str, flat(coco_17(0.9))))}\n"


def long_csv() -> str:
    """A row a joint."""
    rows = [
        f"0,{joint.name.lower()},{x},{y},0.9" for joint, (x, y) in zip(Joint, BODY, strict=True)
    ]
    rows[MISSING] = "0,right_ankle,,,0.0"
    return "\n".join(["frame,joint,x,y,confidence", *rows]) + "\n"


def python_text() -> str:
    """What Python prints of a result with tuples and an array."""
    points = [(float(x), float(y), 1.0) for x, y in BODY]
    points[MISSING] = (0.0, 0.0, 0.0)
    rows = str(points).replace("(", "[").replace(")", "]")
    return f"{{'people': [{{'pose_keypoints_2d': array({rows}, dtype=float32), 'id': None}}], " \
        f"'canvas_height': {HEIGHT}, 'canvas_width': {WIDTH},}}\n"  # fmt: skip


def fenced_text() -> str:
    """A pose in an answer's code block."""
    document = canvas(people=[{"pose_keypoints_2d": flat(body_18())}])
    return f"Here is the pose:\n\n```json\n{json.dumps(document)}\n```\n"


OF_PRODUCERS = {
    "Halpe-26": Dialect(lambda: alphapose_halpe(halpe_26()), says="Halpe-26"),
    "Halpe-136": Dialect(lambda: alphapose_halpe(halpe_136()), hands=True, says="Halpe-136"),
    "AlphaPose and PoseFlow by picture": Dialect(
        poseflow, neck_is_made=True, says="people by picture"
    ),
    "AlphaPose cmu": Dialect(alphapose_cmu, says="people by picture"),
    "Ultralytics JSON": Dialect(ultralytics, neck_is_made=True, says="list of people"),
    "YOLO label txt": Dialect(yolo_label, neck_is_made=True, tolerance=1e-6, says="YOLO"),
    "MediaPipe Tasks": Dialect(mediapipe_tasks, neck_is_made=True, says="33 landmarks"),
    "MediaPipe list": Dialect(mediapipe_list, neck_is_made=True, says="33 landmarks"),
    "MediaPipe Holistic": Dialect(mediapipe_holistic, True, True, says="33 landmarks"),
    "DWPose": Dialect(dwpose, hands=True, says="DWPose"),
    "easy_ViTPose": Dialect(easy_vitpose, neck_is_made=True, says="easy_ViTPose"),
    "Kinetics-skeleton": Dialect(kinetics, says="Kinetics-skeleton"),
    "Wan-Animate meta": Dialect(wan_meta, hands=True, says="two toes"),
    "Dress Code": Dialect(dress_code, says="Dress Code"),
    "joints by name": Dialect(by_name, says="by the joints' names"),
    "MoveNet": Dialect(movenet, neck_is_made=True, says="by the joints' names"),
    "PoseNet": Dialect(posenet, neck_is_made=True, says="by the joints' names"),
    "Roboflow": Dialect(roboflow, neck_is_made=True, says="by the joints' names"),
    "SAM 3D Body": Dialect(sam_3d_body, says="70 points"),
    "EasyMocap": Dialect(easymocap, hands=True, says="EasyMocap"),
    "Detectron2": Dialect(detectron2, neck_is_made=True, says="Detectron2"),
    "ViTPose of transformers": Dialect(vitpose, neck_is_made=True, says="list of people"),
    "Label Studio": Dialect(label_studio, neck_is_made=True, says="Label Studio"),
    "labelme": Dialect(labelme, neck_is_made=True, says="labelme"),
    "VGG Image Annotator": Dialect(via, neck_is_made=True, says="VGG Image Annotator"),
    "Apple Vision": Dialect(apple_vision, says="Apple Vision"),
    "ZED": Dialect(zed, says="ZED"),
    "MoveNet array": Dialect(movenet_array, neck_is_made=True, says="y stands before x"),
    "numbered points": Dialect(numbered_points, says="its own number"),
    "columns": Dialect(columns, neck_is_made=True, says="columns of points"),
    "Ultralytics csv": Dialect(ultralytics_csv, neck_is_made=True, says="csv, a person a row"),
    "people by number": Dialect(by_track, says="OpenPose JSON"),
    "19 points": Dialect(nineteen, says="and the background"),
    "numbers as text": Dialect(numbers_as_text, says="BODY_18"),
    "wide csv": Dialect(wide_csv, neck_is_made=True, says="csv, a person a row"),
    "long csv": Dialect(long_csv, says="csv, a joint a row"),
    "Python txt": Dialect(python_text, says="BODY_18"),
    "fenced txt": Dialect(fenced_text, says="POSE_KEYPOINT"),
}
