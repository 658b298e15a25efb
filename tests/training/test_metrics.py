"""The figures of `training.evaluation.metrics`, against values worked out by hand."""

import math

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from pcdm_core.garment_colour import colour_error
from training.evaluation.metrics import (
    PSNR_CEILING,
    bootstrap,
    periods_kept,
    print_periods,
    psnr,
    ssim,
)


def noise_picture(seed: int, height: int = 40, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def left_half(height: int = 40, width: int = 32) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return mask


def test_equal_pictures_score_one_and_the_ceiling():
    picture = noise_picture(0)
    assert ssim(picture, picture) == pytest.approx(1.0)
    assert ssim(picture, picture, left_half()) == pytest.approx(1.0)
    assert psnr(picture, picture) == PSNR_CEILING


def test_psnr_of_a_constant_error_is_the_textbook_value():
    truth = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(truth + np.uint8(10), truth) == pytest.approx(10 * math.log10(255**2 / 100))


def test_the_mask_alone_decides_when_given():
    truth = noise_picture(1)
    spoilt = truth.copy()
    spoilt[:, 16:] = 0
    inside = left_half()
    inside[:, 8:16] = False  # windows of pixels beside the seam reach across it
    assert ssim(spoilt, truth, inside) == pytest.approx(1.0)
    assert psnr(spoilt, truth, inside) == PSNR_CEILING
    assert ssim(spoilt, truth, ~left_half()) < 0.2
    assert psnr(spoilt, truth) < 20


def test_a_shift_of_brightness_costs_psnr_more_than_ssim():
    truth = (noise_picture(2) // 2 + 60).astype(np.uint8)
    brighter = truth + np.uint8(20)
    shuffled = np.random.default_rng(0).permutation(truth.reshape(-1, 3)).reshape(truth.shape)
    assert ssim(brighter, truth) > 0.9
    assert ssim(shuffled, truth) < 0.3


def test_colour_error_sees_the_mean_colour_of_each_region():
    truth = np.zeros((10, 10, 3), np.uint8)
    truth[:] = (200, 30, 30)
    wrong = truth.copy()
    wrong[:, :5] = (30, 200, 30)
    west, east = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    west[:, :5], east[:, 5:] = True, True
    assert colour_error(wrong, truth, [east]) == pytest.approx(0.0)
    assert colour_error(wrong, truth, [west]) > 100
    both = colour_error(wrong, truth, [west, east])
    assert both == pytest.approx(colour_error(wrong, truth, [west]) / 2)
    assert math.isnan(colour_error(wrong, truth, [np.zeros((10, 10), bool)]))


def test_the_interval_covers_the_true_mean_about_nineteen_times_in_twenty():
    generator = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        interval = bootstrap(generator.normal(2.0, 1.0, 60), seed=trial, draws=400)
        hits += interval.low <= 2.0 <= interval.high
    assert 178 <= hits <= 199


def test_values_of_one_person_count_as_one_observation():
    generator = np.random.default_rng(4)
    per_person = generator.normal(0.0, 1.0, 20)
    values = np.repeat(per_person, 10)
    alone = bootstrap(values)
    grouped = bootstrap(values, groups=np.repeat(np.arange(20), 10))
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_draws_of_whole_people_stay_those_of_the_seed():
    # Published intervals came from these draws; another library version must not change them.
    generator = np.random.default_rng(5)
    values, people = generator.normal(0.8, 0.1, 90), generator.integers(0, 12, 90)
    sums, counts = (np.bincount(people, weights) for weights in (values, None))
    rows = np.random.default_rng(7).integers(0, 12, (300, 12))
    means = sums[rows].sum(1) / counts[rows].sum(1)
    interval = bootstrap(values, groups=people, seed=7, draws=300)
    ends = (interval.low, interval.high)
    assert ends == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1e-12)


def test_one_person_has_an_interval_without_width():
    interval = bootstrap([1.0, 2.0, 6.0], groups=["a", "a", "a"])
    assert (interval.mean, interval.low, interval.high, interval.count) == (3.0, 3.0, 3.0, 3)


def test_missing_values_are_left_out_and_an_empty_list_is_refused():
    assert bootstrap([1.0, float("nan"), 3.0]).count == 2
    with pytest.raises(ValueError, match="no values"):
        bootstrap([float("nan")])
    with pytest.raises(ValueError, match="2 values but 3 groups"):
        bootstrap([1.0, 2.0], groups=[1, 2, 3])


def test_sizes_types_and_empty_masks_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"40x32.*40x30"):
        ssim(noise_picture(0), noise_picture(0, width=30))
    with pytest.raises(ValueError, match="no pixel lies inside"):
        psnr(noise_picture(0), noise_picture(1), np.zeros((40, 32), bool))
    with pytest.raises(ValueError, match="uint8"):
        ssim(noise_picture(0) / 255.0, noise_picture(0))


def striped(period: float, axis: int, seed: int = 3) -> np.ndarray:
    """Stripes of a print over a little noise, uint8 [192, 128, 3]."""
    place = np.indices((192, 128))[axis]
    noise = np.random.default_rng(seed).normal(0, 3, (192, 128))
    return np.repeat(128 + 40 * np.sin(2 * np.pi * place / period) + noise, 3).reshape(
        192, 128, 3
    ).astype(np.uint8)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_a_prints_period_is_read_to_a_tenth_of_a_pixel_in_its_own_direction(axis: int) -> None:
    trunk = np.zeros((192, 128), bool)
    trunk[50:110, 40:88] = True
    periods = print_periods(striped(9.4, axis), trunk)
    assert periods[axis] == pytest.approx(9.4, abs=0.1)
    assert np.isnan(periods[1 - axis])


def test_a_print_is_kept_where_the_period_is_near_and_lost_in_blur_noise_and_plain_cloth() -> None:
    trunk = np.zeros((192, 128), bool)
    trunk[50:110, 40:88] = True
    truth = striped(9.4, 0)
    assert periods_kept(striped(10.3, 0, seed=5), truth, trunk) == 1.0
    assert periods_kept(striped(12.0, 0), truth, trunk) == 0.0
    assert periods_kept(np.full_like(truth, 128), truth, trunk) == 0.0
    assert periods_kept(noise_picture(4, 192, 128), truth, trunk) == 0.0
    assert math.isnan(periods_kept(truth, np.full_like(truth, 128), trunk))
