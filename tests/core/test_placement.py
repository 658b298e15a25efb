"""Which type weights get and what stays on the device, and that the rest is freed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints.components import load_components, open_components
from pcdm_core.checkpoints.files import each_tensor
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.placement import Keep, bytes_needed, choose_placement
from tests.core.tiny_pipeline import picture, poses, save_tiny_weights

PUBLISHED = {
    "prior": 1_025_000_000,
    "inpainting": 870_000_000,
    "refining": 870_000_000,
    "autoencoder": 84_000_000,
    "patch_encoder": 1_136_000_000,
    "global_encoder": 632_000_000,
}
GB = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_weights(tmp_path)


@pytest.mark.parametrize(
    ("free", "dtype", "keep"),
    [
        (64, torch.float32, "all"),
        (16, torch.float32, "denoisers"),
        (10, torch.float32, "one"),
        (6, torch.bfloat16, "one"),
        (1, torch.bfloat16, "one"),
    ],
)
def test_on_a_cpu_single_precision_comes_before_keeping_everything(
    free: int, dtype: torch.dtype, keep: Keep
) -> None:
    placement = choose_placement(PUBLISHED, "cpu", free=free * GB)
    assert (placement.dtype, placement.keep) == (dtype, keep)
    assert str(placement).endswith(f"on cpu, --keep {keep} ({free}.0 GB are free)")


@pytest.mark.parametrize(("free", "keep"), [(24, "all"), (11, "denoisers"), (6, "one")])
def test_elsewhere_large_weights_are_in_half_precision(free: int, keep: Keep) -> None:
    placement = choose_placement(PUBLISHED, "mps", free=free * GB)
    assert (placement.dtype, placement.keep) == (torch.float16, keep)


def test_what_was_asked_for_stands() -> None:
    small = {"inpainting": 1000}
    placement = choose_placement(PUBLISHED, "cpu", torch.float16, "denoisers", free=1)
    assert (placement.dtype, placement.keep) == (torch.float16, "denoisers")
    assert choose_placement(PUBLISHED, "cpu", torch.float32, free=6 * GB).keep == "one"
    assert choose_placement(small, "mps", free=GB).dtype == torch.float32
    assert bytes_needed(PUBLISHED, 2, "one") == 2 * PUBLISHED["patch_encoder"]


@pytest.mark.parametrize("keep", ["denoisers", "one"])
def test_what_does_not_stay_has_no_storage_between_uses(folder: Path, keep: Keep) -> None:
    whole = PCDMsPipeline.from_folder(folder, keep="all")
    pipeline = PCDMsPipeline.from_folder(folder, keep=keep)
    parts: dict[str, Any] = {name: getattr(pipeline, name) for name in PUBLISHED}

    def check() -> None:
        for name, part in parts.items():
            stays = pipeline.offload.stays(name)
            assert all(tensor.is_meta != stays for tensor in part.parameters()), name

    check()
    inputs = picture(), poses(1), poses(2)
    result = pipeline(*inputs, seed=1, steps=2)
    check()
    assert torch.equal(result.image, whole(*inputs, seed=1, steps=2).image)


def test_loading_encoding_and_decoding_are_told(folder: Path) -> None:
    progress: list[tuple[str, int, int]] = []

    def note(*step: Any) -> None:
        progress.append(step)

    pipeline = PCDMsPipeline.from_folder(folder, progress=note)
    assert {work for work, _, _ in progress} == {f"loading {name}" for name in PUBLISHED}
    progress.clear()
    pipeline(picture(), poses(1), poses(1), seed=1, steps=2)
    assert [work for work, done, _ in progress if done] == [
        *("encoding",) * 3, "decoding", "encoding", "decoding"
    ]  # fmt: skip


def test_a_part_read_one_tensor_at_a_time_is_the_part_read_whole(folder: Path) -> None:
    _, stored = open_components(folder)
    _, components = load_components(folder, dtype=None)
    for name, part in stored.items():
        assert part.one_by_one, name
        expected = components[name].to(torch.float16).state_dict()
        weights = part.read(dtype=torch.float16)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
        assert {key for key, _ in each_tensor(part.path)}
