"""The workflows and blueprints that ship, made of tables.

    python -m tests.workflows.templates

writes `workflows/`, `workflows/api/` and `subgraphs/` anew. After a node has got another input,
`python -m tests.registry.object_info` comes first.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.files import write_text
from pcdm_core.pose.editor import library, to_edited
from pcdm_core.pose.formats import read_pose, to_openpose
from pcdm_core.pose.interpolate import interpolate_poses
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.retarget import retarget
from pcdm_core.published.table import files_of
from tests.hosts import ROOT
from tests.published.workflows import published
from tests.workflows import graph
from tests.workflows.blueprints import (
    BLUEPRINTS,
    KEEP_BACKGROUND,
    NEW_POSE,
    POSE_OF_PICTURE,
    REFINE,
)
from tests.workflows.graph import Node, Workflow
from tests.workflows.shapes import Choice

_FIRST = 300  # pixels: the width of the first column and the note in it
HEIGHT = 768  # of the person's picture and of what is saved, in pixels: what one can see
_FRAME = (768, 512)
_PERSON = "000007"  # web/pcdm_person.png shows them
_STUDENT: dict[str, Any] = {"inpainting": Choice(1), "refining": Choice(1), "steps": 4}
_PAPER = "[PCDMs](https://arxiv.org/abs/2310.06313)"
_WEIGHTS = (
    "The weights that ship draw *rendered people*, small: of a photograph they keep the pose and "
    "rough colours. Photographs need [the authors' files]"
    f"({files_of('published')[0].source.address}); the template **Photographs - the published "
    "weights** lists them all."
)
_AS_DRAWN: dict[str, Any] = {"own_proportions": False}  # the pose is on the person's body already
_OWN = (
    "**A person of your own:** connect a *Load Image* to `picture` of *PCDM Example Person*. "
    "Their pose is found, and everything follows."
)
_OTHER_BODY = " Where their body is unlike the example's, switch *own proportions* on."


def _pose(name: str) -> str:
    """A pose of the editor's library as the editor writes it, on the first example's person.

    On other proportions the shipped weights draw it badly.
    """
    person = read_pose(WEIGHTS_FOLDER / "examples" / _PERSON / "00.json")
    fitted = retarget(_of_library(name).with_canvas(_FRAME), person, _FRAME).pose
    return json.dumps(to_edited(fitted, *_FRAME), separators=(",", ":"))


def _of_library(name: str) -> Keypoints:
    (pose,) = (entry.keypoints for entry in library() if entry.name == name)
    return pose


def _person(person: str, target: str = "1") -> list[Node]:
    """An example person, at a size that one can see."""
    views = {"person": person, "source_view": "0", "target_view": target}
    example = Node(1, "PCDMExamplePerson", "The person", views, (_FIRST, 0))
    return [example, _enlarged(2, "Size of the pictures", (1, "image"))]


def _enlarged(key: int, title: str, image: tuple[int, str]) -> Node:
    size = {"upscale_method": "bicubic", "width": 0, "height": HEIGHT}
    return Node(key, "ImageScale", title, {"image": image, **size}, (_FIRST, 0))


def _saved(key: int, image: tuple[int, str], name: str) -> Node:
    return Node(
        key,
        "SaveImage",
        "The new picture",
        {"images": image, "filename_prefix": f"pcdm/{name}"},
        (440, 730),
    )


def _compared(key: int, before: tuple[int, str], after: tuple[int, str]) -> Node:
    """A slider between two pictures; `web/compare.js` shows the first alone where it must."""
    inputs = {"image_a": before, "image_b": after}
    instead = {"pcdm_else": "Before"}
    return Node(key, "ImageCompare", "Slide to compare", inputs, (340, 440), properties=instead)


def _editor(key: int, title: str, pose: str, **links: Any) -> Node:
    return Node(key, "PCDMPoseEditor", title, {"pose_json": pose, **links}, (380, 730))


def _note(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)


def _app() -> Workflow:
    person = Node(1, "LoadImage", "The person", {"image": "pcdm_person.png"}, (_FIRST, 400))
    person.labels["image"] = "rendered person, no photograph"
    picture = (1, "IMAGE")
    editor = _editor(2, "Drag the pose", _pose("Waving"), underlay=picture)
    new = NEW_POSE.node(3, person=picture, pose=(2, "pose"), **_STUDENT)
    image = (3, "picture")
    both = {"image1": picture, "image2": image}
    shown = Node(6, "PreviewImage", "Before and after", {"images": (5, "IMAGE")}, (340, 320))
    return Workflow(
        "Drag a pose - app",
        "pcdm_app",
        {
            "1. Load a person": [person],
            "2. Drag the pose": [editor],
            "3. Run": [new, Node(5, "ImageStitch", "Side by side", both, (340, 0)), shown],
            "4. What comes out": [_saved(4, image, "app")],
        },
        _note(
            "## A person, a dragged pose, Run",
            "For a picture at every drag set the arrow beside *Run*, here in the graph, to "
            "**Run (On Change)**. "
            "The few-step student of the shipped weights draws it in 4 steps.",
            f"{_WEIGHTS} The method is {_PAPER}.",
        ),
        extra={
            "linearMode": True,
            "linearData": {
                "inputs": [["1", "image"], ["2", "pose_editor"], ["3", "seed"]],
                "outputs": ["6"],
            },
        },
    )


def _dragged() -> Workflow:
    person = (2, "IMAGE")
    image = (4, "picture")
    return Workflow(
        "Drag a pose",
        "pcdm_pose_editor",
        {
            "1. A person": _person(_PERSON),
            "2. Drag the pose": [_editor(3, "The pose", _pose("Waving"), underlay=person)],
            "3. Run": [
                NEW_POSE.node(4, person=person, pose=(3, "pose")),
                _compared(6, person, image),
            ],
            "4. What comes out": [_saved(5, image, "dragged")],
        },
        _note(
            "## Drag the joints, press Run",
            "*Poses* in the editor opens a library, *?* says what mouse and keys do. " + _OWN,
            _WEIGHTS,
        ),
    )


def _from_picture() -> Workflow:
    person = (2, "IMAGE")
    views = {"person": "000008", "source_view": "6", "target_view": "1"}
    found = POSE_OF_PICTURE.node(4, person=person, picture=(3, "image"))
    shown = Node(7, "PreviewImage", "The pose to take", {"images": (4, "preview")}, (400, 520))
    return Workflow(
        "A pose from another picture",
        "pcdm_pose_from_picture",
        {
            "1. Two people": [
                *_person(_PERSON),
                Node(3, "PCDMExamplePerson", "Somebody in the pose", views),
            ],
            "2. The pose of the other": [found, shown],
            "3. Run": [NEW_POSE.node(5, person=person, pose=(4, "pose"), **_AS_DRAWN)],
            "4. What comes out": [_saved(6, (5, "picture"), "pose_from_picture")],
        },
        _note(
            "## The person of the first picture in the pose of the second",
            "The pose is put on the person's own proportions. **Pictures of your own:** connect a "
            "*Load Image* to `picture` of either *PCDM Example Person*.",
            _WEIGHTS,
        ),
    )


def _four_steps() -> Workflow:
    links: dict[str, Any] = {"person": (2, "IMAGE"), "pose": (1, "target_pose")}
    new = NEW_POSE.node(3, **links, **_STUDENT, **_AS_DRAWN)
    image = (3, "picture")
    return Workflow(
        "In four steps",
        "pcdm_four_steps",
        {
            "1. A person, and a pose": _person("000000"),
            "2. Run": [new, _compared(5, (2, "IMAGE"), image)],
            "3. What comes out": [_saved(4, image, "four_steps")],
        },
        _note(
            "## Four steps in place of twenty",
            "The weights are a few-step student: a fifth of the time, pictures almost as good. "
            "Leave *steps* at 4; it was trained for that. " + _OWN + _OTHER_BODY,
            _WEIGHTS,
        ),
    )


def _many_poses() -> Workflow:
    new = NEW_POSE.node(3, person=(2, "IMAGE"), pose=(1, "target_pose"), **_AS_DRAWN)
    truth = Node(5, "PreviewImage", "The true pictures", {"images": (1, "truth")}, (440, 480))
    return Workflow(
        "One person in many poses",
        "pcdm_many_poses",
        {
            "1. A person, and eight poses": _person("000000", "all others"),
            "2. Run": [new],
            "3. What comes out": [_saved(4, (3, "picture"), "many_poses")],
            "To compare with": [truth],
        },
        _note(
            "## Eight poses as one batch",
            "Any batch of poses goes into `pose`: frames of *PCDM Pose from Key Points*, or a "
            "movement of *PCDM Interpolate Poses*. " + _OWN + _OTHER_BODY,
            _WEIGHTS,
        ),
    )


def _movement() -> Workflow:
    moving = {"first_pose": (3, "pose"), "next_pose": (4, "pose"), "count": 8}
    new = NEW_POSE.node(6, person=(2, "IMAGE"), pose=(5, "pose"))
    return Workflow(
        "A movement between two poses",
        "pcdm_sequence",
        {
            "1. A person": _person(_PERSON),
            "2. Drag the first pose": [_editor(3, "First key pose", "")],
            "3. Drag the last pose": [_editor(4, "Last key pose", _pose("Waving"))],
            "4. Run": [Node(5, "PCDMInterpolatePoses", "Poses between", moving), new],
            "5. What comes out": [_saved(7, (6, "picture"), "sequence")],
        },
        _note(
            "## Eight poses between two, drawn as one batch",
            "For more or fewer pictures set *count*. All share the noise of the seed, so the "
            "movement does not flicker. " + _OWN,
            _WEIGHTS,
        ),
    )


def _frames() -> str:
    """A clip as a detector gives it: it trembles, and the person is missing in one frame."""
    keys = Keypoints.cat([_of_library(name) for name in ("Hands on the hips", "Both arms up")])
    poses = interpolate_poses(keys, 8, _FRAME, loop=True)
    noise = torch.randn(poses.xy.shape, generator=torch.Generator().manual_seed(25)) * 0.01
    document = to_openpose(replace(poses, xy=(poses.xy + noise).mul(512).round().div(512)), *_FRAME)
    document[3]["people"] = []
    return json.dumps(document, separators=(",", ":"))


def _clip() -> Workflow:
    frames = {"text": _frames(), "gaps": "interpolate"}
    calm = {"poses": (3, "pose"), "strength": 0.5}
    person = {"source_pose": (1, "source_pose"), "source": (1, "image")}
    body = {"target_pose": (4, "pose"), **person, "one_body": True}
    return Workflow(
        "The poses of a clip",
        "pcdm_clip",
        {
            "1. A person": _person(_PERSON),
            "2. A clip": [Node(3, "PCDMPoseFromKeypoints", "Its frames", frames, (340, 420))],
            "3. One body, calm": [
                Node(4, "PCDMSmoothPoses", "Without jitter", calm),
                Node(5, "PCDMRetargetPose", "Of the person's size", body),
            ],
            "4. Run": [NEW_POSE.node(6, person=(2, "IMAGE"), pose=(5, "pose"), **_AS_DRAWN)],
            "5. What comes out": [_saved(7, (6, "picture"), "clip")],
        },
        _note(
            "## Every frame of a clip, drawn as this person",
            "The frames tremble, and in one the person is missing. **A video of your own:** "
            "connect *Load Video*, *Get Video Components* and *PCDM Pose from Image* (`gaps`: "
            "interpolate) to `poses` of *PCDM Smooth Poses*. " + _OWN,
            _WEIGHTS,
        ),
    )


def _kept_background() -> Workflow:
    person = (2, "IMAGE")
    new = NEW_POSE.node(3, person=person, pose=(1, "target_pose"), **_AS_DRAWN)
    parts: dict[str, Any] = {name: (3, name) for name in ("picture", "mask", "old_mask")}
    return Workflow(
        "Keep the background",
        "pcdm_keep_background",
        {
            "1. A person, and a pose": _person("000005", "2"),
            "2. Run": [new, KEEP_BACKGROUND.node(4, scene=person, **parts)],
            "3. What comes out": [_saved(5, (4, "picture"), "keep_background")],
        },
        _note(
            "## The new person in the old scene",
            "Where only the old person stood, ComfyUI's own nodes draw the scene's edge across, "
            "softly: right for studios and skies. For a detailed background connect `empty_scene` "
            "to an inpainting workflow. " + _OWN + _OTHER_BODY,
            _WEIGHTS,
        ),
    )


def _refined() -> Workflow:
    coarse = _enlarged(4, "A soft picture of any model", (3, "IMAGE"))
    small = {"image": (1, "truth"), "upscale_method": "area", "width": 0, "height": 40}
    person = (2, "IMAGE")
    image = (5, "picture")
    refined = REFINE.node(5, picture=(4, "IMAGE"), person=person)
    return Workflow(
        "Refine a person of any model",
        "pcdm_refine",
        {
            "1. The person": _person("000000"),
            "2. A picture to refine": [Node(3, "ImageScale", "Made soft", small), coarse],
            "3. Run": [refined, _compared(7, (4, "IMAGE"), image)],
            "4. What comes out": [_saved(6, image, "refined")],
        },
        _note(
            "## Details of the person, for a picture of any model",
            "**Your own:** connect *Load Image* in place of *A soft picture of any model*, and "
            "another to `picture` of *PCDM Example Person*, of the same shape. **The face alone:** "
            "connect ComfyUI's *Face Mask (MediaPipe)* to `area`.",
            _WEIGHTS,
        ),
    )


def _recorded(stem: str) -> dict[int, Node]:
    """The nodes of a workflow whose form for the API is the original, with nothing folded away."""
    text = (ROOT / "workflows" / "api" / f"{stem}.json").read_text(encoding="utf-8")
    nodes: dict[int, Node] = {}
    for key, entry in json.loads(text).items():
        inputs = {
            name: (int(value[0]), value[1]) if isinstance(value, list) else value
            for name, value in entry["inputs"].items()
        }
        title = entry["_meta"]["title"]
        kind = entry["class_type"]
        size = (320, 400) if kind in ("PreviewImage", "SaveImage") else (320, 0)
        nodes[int(key)] = Node(int(key), kind, title, inputs, size)
    return nodes


def _opened(title: str, stem: str, columns: dict[str, tuple[int, ...]], *note: str) -> Workflow:
    nodes = _recorded(stem)
    own = Node(28, "LoadImage", "Your own picture", {"image": "pcdm_person.png"}, (320, 400))
    own.mode = graph.BYPASSED
    nodes[1].inputs["picture"] = (28, "IMAGE")
    nodes[28] = own
    groups = {head: [nodes[key] for key in keys] for head, keys in columns.items()}
    used = [node.key for column in groups.values() for node in column]
    assert sorted(used) == sorted(nodes), f"{stem}: not every node stands in a column"
    mine = "**A person of your own:** choose a picture in *Your own picture* and switch its bypass "
    return Workflow(title, stem, groups, _note(*note, mine + "off (Ctrl+B).", _WEIGHTS))


def _three_stages() -> Workflow:
    return _opened(
        "The three stages, opened up",
        "pcdm_three_stage",
        {
            "1. A person, and a pose": (1, 28, 31, 20),
            "The poses as the models see them": (21, 23, 22, 24),
            "Weights": (2, 3, 4, 5),
            "2. From a guess to a coarse picture": (6, 7),
            "3. Details": (8,),
            "4. What comes out": (33, 26, 32, 25),
            "To compare with": (34, 27),
        },
        "## Prior, inpainting, refining",
        f"Every stage of {_PAPER} as a node of its own, with all its settings.",
    )


def _ksampler() -> Workflow:
    return _opened(
        "The stages through KSampler",
        "pcdm_ksampler",
        {
            "1. A person, and a pose": (1, 28, 31, 20),
            "The poses as the models see them": (21, 23, 22, 24),
            "Weights": (2, 3, 4, 5),
            "2. Prior": (6,),
            "3. Inpainting": (7, 8, 9, 10),
            "4. Refining": (11, 12, 13),
            "5. What comes out": (33, 26, 32, 25),
            "To compare with": (34, 27),
        },
        "## ComfyUI's own sampler on the pack's models",
        "`positive`, `negative` and `latent` of a conditioning node go into any sampler of "
        "ComfyUI, with the MODEL of its loader.",
    )


def workflows() -> list[Workflow]:
    """All templates."""
    own = [_app(), _dragged(), _from_picture(), _four_steps(), _many_poses(), _movement()]
    own += [_clip(), _kept_background(), _refined(), _three_stages(), _ksampler()]
    return own + published()


def kinds() -> set[str]:
    """The classes of all nodes in workflows and blueprints."""
    inner = (graph.kinds(blueprint.nodes) for blueprint in BLUEPRINTS)
    return set[str]().union(*(graph.kinds(one.nodes) for one in workflows()), *inner)


def files() -> dict[Path, str]:
    """All files and what belongs into them."""
    contents: dict[Path, str] = {}
    for workflow in workflows():
        contents[ROOT / "workflows" / f"{workflow.title}.json"] = _json(workflow.front_end(), 1)
        contents[ROOT / "workflows" / "api" / f"{workflow.stem}.json"] = _json(workflow.api(), 2)
    for blueprint in BLUEPRINTS:
        file = ROOT / "subgraphs" / f"{blueprint.name}.json"
        contents[file] = _json(graph.blueprint_file(blueprint), 1)
    return contents


def _json(content: dict[str, Any], indent: int) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
