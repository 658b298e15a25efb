"""The blueprints in `subgraphs/`: parts of the pack that ComfyUI offers as one node each.

Each is found in the node search of hosts from 0.3.67 on, and stands in the workflows.
"""

from __future__ import annotations

from tests.workflows.graph import OUTSIDE, Blueprint, Node

_CATEGORY = "PCDM"
_WEIGHTS = {name: name for name in ("prior", "inpainting", "refining", "encoders")}
_PERSON = (OUTSIDE, "person")
_SAMPLING = {"seed": (OUTSIDE, "seed"), "steps": (OUTSIDE, "steps")}


def _loader(key: int, kind: str, name: str) -> Node:
    return Node(key, kind, inputs={"weights": (OUTSIDE, name)})


NEW_POSE = Blueprint(
    "Person in a new pose",
    "Draws the person of a picture in another pose, through all three stages. Connect a picture, "
    "and a pose: from PCDM Pose Editor, or from 'Pose from a picture'. Without a pose the figure "
    "in this blueprint is drawn; open it to drag it.",
    ["pose transfer", "change pose", "openpose", "human", "character", "换姿势", "姿势迁移"],
    _CATEGORY,
    {
        "The person, and the pose": [
            Node(101, "PCDMPoseFromImage", "Pose of the person", {"image": _PERSON}, (380, 0)),
            Node(
                102,
                "ImageScaleToTotalPixels",
                "At a size to draw on",
                {"image": _PERSON, "upscale_method": "bicubic", "megapixels": 0.4},
            ),
            Node(103, "GetImageSize", "Frame of the pose", {"image": (102, "IMAGE")}),
            Node(
                104,
                "PCDMPoseEditor",
                "The pose",
                {
                    "start_pose": (OUTSIDE, "pose"),
                    "underlay": (102, "IMAGE"),
                    "height": (103, "height"),
                    "width": (103, "width"),
                },
                (380, 690),
            ),
        ],
        "Proportions, and the person's area": [
            Node(
                105,
                "PCDMRetargetPose",
                "On the person's proportions",
                {
                    "target_pose": (104, "pose"),
                    "source_pose": (101, "pose"),
                    "source": _PERSON,
                    "enabled": (OUTSIDE, "own_proportions"),
                },
                (340, 400),
            ),
            Node(106, "GetImageSize", "Size of the picture", {"image": _PERSON}),
            Node(
                107,
                "PCDMRenderPose",
                "Where the person stood",
                {"pose": (101, "pose"), "height": (106, "height"), "width": (106, "width")},
            ),
        ],
        "Weights": [
            _loader(110, "PCDMLoadPrior", "prior"),
            _loader(111, "PCDMLoadInpainting", "inpainting"),
            _loader(112, "PCDMLoadRefining", "refining"),
            _loader(113, "PCDMLoadEncoders", "encoders"),
        ],
        "The three stages": [
            Node(
                120,
                "PCDMPredictTargetEmbedding",
                "",
                {
                    "prior": (110, "prior"),
                    "encoders": (113, "encoders"),
                    "source": _PERSON,
                    "source_pose": (101, "pose"),
                    "target_pose": (105, "pose"),
                    **_SAMPLING,
                },
                (380, 0),
            ),
            Node(
                121,
                "PCDMInpaintingSampler",
                "",
                {
                    "model": (111, "model"),
                    "encoders": (113, "encoders"),
                    "source": _PERSON,
                    "source_pose": (101, "pose"),
                    "target_pose": (105, "pose"),
                    "target_embedding": (120, "target_embedding"),
                    **_SAMPLING,
                },
                (380, 0),
            ),
            Node(
                122,
                "PCDMRefiningSampler",
                "",
                {
                    "model": (112, "model"),
                    "encoders": (113, "encoders"),
                    "source": _PERSON,
                    "coarse": (121, "image"),
                    "target_pose": (105, "pose"),
                    "restore_size": True,
                    **_SAMPLING,
                },
                (380, 0),
            ),
        ],
    },
    {
        "person": "person",
        "pose": "pose",
        "seed": "seed",
        "steps": "steps",
        "own_proportions": "own proportions",
        **_WEIGHTS,
    },
    {"picture": (122, "image"), "mask": (122, "mask"), "old_mask": (107, "mask")},
)

REFINE = Blueprint(
    "Refine a person",
    "Stage 3 on a picture of any model: details of the person come from another picture of them, "
    "of the same shape. Connect a mask to change only that part, such as the face that ComfyUI's "
    "Face Mask (MediaPipe) finds.",
    ["refine", "face", "identity", "detail", "restore", "人物", "细化", "修脸"],
    _CATEGORY,
    {
        "Weights": [
            _loader(201, "PCDMLoadRefining", "refining"),
            _loader(202, "PCDMLoadEncoders", "encoders"),
        ],
        "Stage 3": [
            Node(
                203,
                "PCDMRefiningSampler",
                "",
                {
                    "model": (201, "model"),
                    "encoders": (202, "encoders"),
                    "source": _PERSON,
                    "coarse": (OUTSIDE, "picture"),
                    "restore_size": True,
                    **_SAMPLING,
                },
                (380, 0),
            )
        ],
        "Into the picture": [
            Node(
                204,
                "ImageCompositeMasked",
                "Only in the area, if there is one",
                {
                    "destination": (OUTSIDE, "picture"),
                    "source": (203, "image"),
                    "mask": (OUTSIDE, "area"),
                    "resize_source": True,
                },
            )
        ],
    },
    {
        "picture": "picture",
        "person": "person",
        "area": "area",
        "seed": "seed",
        "steps": "steps",
        "refining": _WEIGHTS["refining"],
        "encoders": _WEIGHTS["encoders"],
    },
    {"picture": (204, "IMAGE")},
)

POSE_OF_PICTURE = Blueprint(
    "Pose from a picture, on this person's proportions",
    "Finds the pose of somebody in a picture and puts it on the person's own body: they keep their "
    "proportions, size and place.",
    ["reference pose", "pose transfer", "retarget", "openpose", "dwpose", "参考姿势", "姿势迁移"],
    _CATEGORY,
    {
        "Two pictures": [
            Node(301, "PCDMPoseFromImage", "Pose of the person", {"image": _PERSON}, (380, 0)),
            Node(
                302,
                "PCDMPoseFromImage",
                "Pose to take",
                {"image": (OUTSIDE, "picture"), "fit_to": _PERSON, "person": (OUTSIDE, "number")},
                (380, 0),
            ),
        ],
        "On the person's body": [
            Node(
                303,
                "PCDMRetargetPose",
                "",
                {
                    "target_pose": (302, "pose"),
                    "source_pose": (301, "pose"),
                    "source": _PERSON,
                    "framing": (OUTSIDE, "framing"),
                },
                (340, 0),
            )
        ],
    },
    {
        "person": "person",
        "picture": "somebody in the pose",
        "number": "which of them",
        "framing": "framing",
    },
    {"pose": (303, "pose"), "preview": (303, "preview"), "found": (302, "preview")},
)

_SMALL = 128  # pixels of height at which the hole is filled: it is soft, and quickly done
_PASSES = 4


def _small(key: int, title: str, image: tuple[int, str]) -> Node:
    size = {"upscale_method": "area", "width": 0, "height": _SMALL}
    return Node(key, "ImageScale", title, {"image": image, **size})


def _of_full_size(key: int, title: str, image: tuple[int, str]) -> Node:
    size = {"width": (401, "width"), "height": (401, "height")}
    return Node(key, "ImageScale", title, {"image": image, "upscale_method": "bicubic", **size})


def _as_picture(key: int, title: str, name: str) -> Node:
    return Node(key, "MaskToImage", title, {"mask": (OUTSIDE, name)})


def _as_mask(key: int, title: str, image: tuple[int, str]) -> Node:
    return Node(key, "ImageToMask", title, {"image": image, "channel": "red"})


def _passes(first: tuple[int, str]) -> list[Node]:
    """Blurs what is in the hole again and again, while what lies around it stays."""
    nodes: list[Node] = []
    picture = first
    for number in range(_PASSES):
        blur, paste = 430 + 2 * number, 431 + 2 * number
        setting = {"blur_radius": 15, "sigma": 6.0}
        nodes.append(Node(blur, "ImageBlur", "", {"image": picture, **setting}))
        pasted = {"destination": (blur, "IMAGE"), "source": (402, "IMAGE"), "mask": (425, "MASK")}
        nodes.append(Node(paste, "ImageCompositeMasked", "The scene around", pasted))
        picture = (paste, "IMAGE")
    return nodes


KEEP_BACKGROUND = Blueprint(
    "Person into the scene",
    "Puts the newly drawn person into the scene of the old picture. Where only the old person "
    "stood, the scene's left edge is drawn across and blended with what lies around. ComfyUI's own "
    "nodes alone.",
    ["background", "composite", "inpaint", "keep background", "背景", "合成"],
    _CATEGORY,
    {
        "Small copies": [
            Node(401, "GetImageSize", "Size of the scene", {"image": (OUTSIDE, "scene")}),
            _small(402, "Scene", (OUTSIDE, "scene")),
            _as_picture(410, "New area", "mask"),
            _small(411, "New area, small", (410, "IMAGE")),
            _as_mask(412, "New area, small", (411, "IMAGE")),
            _as_picture(413, "Old area", "old_mask"),
            _small(414, "Old area, small", (413, "IMAGE")),
            _as_mask(415, "Old area, small", (414, "IMAGE")),
        ],
        "The hole: both areas": [
            Node(
                420,
                "MaskComposite",
                "Both",
                {"destination": (412, "MASK"), "source": (415, "MASK"), "operation": "add"},
            ),
            Node(421, "GrowMask", "With hair and clothes", {"mask": (420, "MASK"), "expand": 4}),
            Node(425, "InvertMask", "What stays", {"mask": (421, "MASK")}),
        ],
        "The hole is filled": [
            Node(426, "GetImageSize", "Size of the small scene", {"image": (402, "IMAGE")}),
            Node(
                427,
                "ImageCrop",
                "The scene at its left edge",
                {"image": (402, "IMAGE"), "width": 4, "height": (426, "height"), "x": 0, "y": 0},
            ),
            Node(
                428,
                "ImageScale",
                "Drawn across",
                {
                    "image": (427, "IMAGE"),
                    "upscale_method": "area",
                    "width": (426, "width"),
                    "height": (426, "height"),
                },
            ),
            Node(
                429,
                "ImageCompositeMasked",
                "In the hole",
                {
                    "destination": (428, "IMAGE"),
                    "source": (402, "IMAGE"),
                    "mask": (425, "MASK"),
                },
            ),
            *_passes((429, "IMAGE")),
        ],
        "The scene without anybody": [
            _of_full_size(450, "Filling", (429 + 2 * _PASSES, "IMAGE")),
            Node(451, "MaskToImage", "", {"mask": (421, "MASK")}),
            _of_full_size(452, "Hole", (451, "IMAGE")),
            _as_mask(453, "Hole", (452, "IMAGE")),
            Node(
                454,
                "ImageCompositeMasked",
                "Empty scene",
                {
                    "destination": (OUTSIDE, "scene"),
                    "source": (450, "IMAGE"),
                    "mask": (453, "MASK"),
                },
            ),
        ],
        "The new person": [
            Node(460, "GrowMask", "With hair and clothes", {"mask": (412, "MASK"), "expand": 2}),
            Node(461, "MaskToImage", "", {"mask": (460, "MASK")}),
            _of_full_size(462, "New area", (461, "IMAGE")),
            _as_mask(463, "New area", (462, "IMAGE")),
            Node(
                464,
                "ImageCompositeMasked",
                "The person in the scene",
                {
                    "destination": (454, "IMAGE"),
                    "source": (OUTSIDE, "picture"),
                    "mask": (463, "MASK"),
                },
            ),
        ],
    },
    {"scene": "scene", "picture": "picture", "mask": "mask", "old_mask": "old mask"},
    {"picture": (464, "IMAGE"), "empty_scene": (454, "IMAGE")},
)

BLUEPRINTS = (NEW_POSE, REFINE, POSE_OF_PICTURE, KEEP_BACKGROUND)
