"""controlnet_aux's OpenPose, with the package's own classes; skipped where it does not load.

Its networks are the real ones with weights that see nothing, in files of the real layout. Where
people are needed, what the networks say of the picture is given, in the form in which they say it.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcdm_core.pose.detect import NoPersonError, detect_people
from pcdm_core.pose.detect import people as detect
from pcdm_core.pose.keypoints import Keypoints

#: Where the joints of a person are, as fractions of the picture.
PLACES = np.random.default_rng(0).uniform(0.2, 0.8, (18, 2))
MISSING = 10  # the right ankle


@pytest.fixture
def openpose() -> Any:
    """The package's module."""
    try:
        return importlib.import_module("controlnet_aux.open_pose")
    except Exception as error:  # what it imports on the way may fail in any manner
        pytest.skip(f"controlnet_aux, torchvision and timm are optional: {error!r}")


@pytest.fixture
def folder(openpose: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The weights in a Hugging Face cache of our own, as a download leaves them."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--lllyasviel--Annotators"
    snapshot = repository / "snapshots" / "1a2b"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1a2b")
    face = importlib.import_module("controlnet_aux.open_pose.face")
    networks = (openpose.body.bodypose_model(), openpose.hand.handpose_model(), face.FaceNet())
    for name, network in zip(detect.OPENPOSE_FILES, networks, strict=True):
        # Caffe's names have no module before them; one zero stands for a whole tensor.
        cut = name != "facenet.pth"
        weights = {
            key.split(".", 1)[1] if cut else key: torch.zeros(()).expand(value.shape)
            for key, value in network.state_dict().items()
        }
        torch.save(weights, snapshot / name)
    detect._openpose.cache_clear()  # pyright: ignore[reportPrivateUsage]
    return snapshot


def seen_by(openpose: Any, folder: Path, hand: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """The loaded detector, which is told of one person, and the pictures that it gets."""
    pictures: list[np.ndarray] = []

    class Body(openpose.body.Body):
        def __init__(self) -> None:
            pass

        def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pictures.append(picture)
            size = picture.shape[1::-1]
            rows = [[*(place * size), 0.9, index] for index, place in enumerate(PLACES)]
            indices = [-1 if joint == MISSING else joint for joint in range(18)]
            return np.array(rows), np.array([[*indices, 15.3, 17]])

    class Hand(openpose.hand.Hand):
        def __init__(self) -> None:
            pass

        def __call__(self, picture: np.ndarray) -> np.ndarray:
            return hand

    detector = detect._openpose(str(folder))  # pyright: ignore[reportPrivateUsage]
    detector.body_estimation, detector.hand_estimation = Body(), Hand()
    return detector, pictures


def found_with(openpose: Any, folder: Path, hand: np.ndarray) -> tuple[Keypoints, np.ndarray]:
    """What is made of the one person in a red picture of 96x64, and what the networks got."""
    _, pictures = seen_by(openpose, folder, hand)
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 96, 64)
    (person,) = detect_people(red, "openpose")
    return person, pictures[0]


def test_the_packages_own_networks_load_from_the_cache_and_see_nobody(folder: Path) -> None:
    assert detect.has_openpose()
    with pytest.raises(NoPersonError, match=r"96x64, detector openpose"):
        detect_people(torch.zeros(3, 96, 64), "openpose")


def test_a_missing_file_is_no_openpose(folder: Path) -> None:
    (folder / "hand_pose_model.pth").unlink()
    assert not detect.has_openpose()


def test_joints_of_the_packages_own_people_are_where_it_says(openpose: Any, folder: Path) -> None:
    person, picture = found_with(openpose, folder, np.zeros((21, 2), int))
    assert picture.shape == (768, 512, 3)  # as the package's own call makes it
    assert (picture == [0, 0, 255]).all()  # its networks take BGR
    assert person.visible[0].tolist() == [joint != MISSING for joint in range(18)]
    visible = person.visible[0].numpy()
    np.testing.assert_allclose(person.xy[0].numpy()[visible], PLACES[visible], atol=1e-6)


def test_points_of_a_hand_that_the_package_did_not_find_are_missing(
    openpose: Any, folder: Path
) -> None:
    hand = np.array([[0, 0], [7, 0], [0, 7], *[[5 + n, 6 + n] for n in range(18)]])
    person, _ = found_with(openpose, folder, hand)
    assert person.hands_visible is not None
    assert person.hands_visible[0].sum(-1).tolist() == [18, 18]
    assert not person.hands_visible[0, :, :3].any()


def test_a_hand_of_which_nothing_was_found_is_no_hand(openpose: Any, folder: Path) -> None:
    person, _ = found_with(openpose, folder, np.zeros((21, 2), int))
    assert not person.has_hands
