"""Which pose a picture shows, by the detector that ships and by any other judge."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.held_out_pairs import choose_pairs, shots_of
from training.evaluation.judges import keypoint_figures
from training.evaluation.pose_judges import BlazePoseJudge
from training.synthetic.shots import Shot

RUNTIME = importlib.util.find_spec("ai_edge_litert") is not None


@pytest.fixture(scope="module")
def truth() -> Shot:
    (pair,) = choose_pairs(0, 1, None, "test")
    return shots_of(pair, None, "test", (96, 64))[1]


class Says:
    """A judge that gives a fixed answer."""

    def __init__(self, places: np.ndarray, reported: np.ndarray) -> None:
        self.answer = places[None].astype(np.float32), reported[None].astype(bool)

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.answer


def test_a_judge_that_is_right_gives_one_and_a_shift_of_a_tenth_of_the_height_zero(truth: Shot):
    pictures = truth.picture[None]
    (right,) = keypoint_figures(Says(truth.xy, np.ones(18)), pictures, truth)
    assert right == {"pck": 1.0, "pck_05": 1.0, "joints": 1.0, "swapped": 0.0}
    aside = np.array([6.0, 0.0])
    moved = truth.xy + aside
    (near,) = keypoint_figures(Says(moved, np.ones(18)), pictures, truth)
    assert (near["pck"], near["pck_05"]) == (1.0, 0.0)
    (far,) = keypoint_figures(Says(moved + aside, np.ones(18)), pictures, truth)
    assert far["pck"] == 0.0


def test_only_reported_joints_count_and_how_many_they_are_is_told(truth: Shot):
    reported = truth.visible & (np.arange(18) < 8)
    wrong_elsewhere = np.where(reported[:, None], truth.xy, -100.0)
    (figures,) = keypoint_figures(Says(wrong_elsewhere, reported), truth.picture[None], truth)
    assert figures["pck"] == 1.0
    assert figures["joints"] == pytest.approx(reported.sum() / truth.visible.sum())


def test_a_picture_without_anybody_has_no_correct_joint(truth: Shot):
    (figures,) = keypoint_figures(Says(truth.xy, np.zeros(18)), truth.picture[None], truth)
    assert np.isnan(figures.pop("swapped"))  # no order is read
    assert figures == {"pck": 0.0, "pck_05": 0.0, "joints": 0.0}


def test_a_back_in_place_of_a_front_swaps_left_and_right(truth: Shot):
    xy = np.zeros((18, 2))
    xy[[2, 5, 8, 11], 0] = 20, 44, 26, 38
    front = replace(truth, xy=xy, inside=np.ones(18, bool))

    def swapped(places: np.ndarray, reported: np.ndarray, shot: Shot = front) -> float:
        return keypoint_figures(Says(places, reported), truth.picture[None], shot)[0]["swapped"]

    every = np.ones(18)
    back, shoulders = xy.copy(), xy.copy()
    back[[2, 5, 8, 11], 0] = 44, 20, 38, 26
    shoulders[[2, 5], 0] = 44, 20
    assert [swapped(places, every) for places in (xy, back, shoulders)] == [0.0, 1.0, 0.0]
    without_hips = every.copy()
    without_hips[11] = 0
    assert swapped(shoulders, without_hips) == 1.0
    profile = xy.copy()
    profile[[2, 5, 8, 11], 0] = 31, 32, 32, 32
    assert np.isnan(swapped(back, every, replace(front, xy=profile)))


@pytest.mark.skipif(not RUNTIME, reason="ai_edge_litert is an extra (pose)")
def test_the_detector_that_ships_reads_small_renders_and_finds_nobody_in_an_empty_one(truth: Shot):
    empty = np.full_like(truth.picture, 230)
    (pair,) = choose_pairs(0, 1, None, "test")
    other = shots_of(pair, None, "test", (96, 64))[0].picture  # the same person, posed otherwise
    pictures = np.stack([truth.picture, empty, other])
    right, nobody, wrong = keypoint_figures(BlazePoseJudge(), pictures, truth)
    assert right["pck"] > 0.85
    assert nobody["joints"] == 0.0
    assert wrong["pck"] < right["pck"]


def test_without_the_runtime_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("training.evaluation.pose_judges.has_blazepose", lambda: False)
    with pytest.raises(ImportError, match="Install ai-edge-litert"):
        BlazePoseJudge()
