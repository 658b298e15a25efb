"""Poses in chunks, components that come to the device for their work, and decoding in parts."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pcdm_core.config import AutoencoderConfig
from pcdm_core.offload import Offload
from pcdm_core.output import PCDMsOutput
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.run_stages import chunks_of
from pcdm_core.vae import TILE, KLAutoencoder
from tests.core.tiny_pipeline import (
    TEST,
    components,
    picture,
    poses,
    randomise,
    save_tiny_weights,
    tiny_pipeline,
)

KL = AutoencoderConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)


def make(pipeline: PCDMsPipeline, count: int, **options: Any) -> PCDMsOutput:
    settings = {"seed": 0, "steps": 2, **options}
    return pipeline(picture(), poses(1, 50), poses(count), **settings)


def difference(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).abs().max() / expected.std())


def test_chunks_are_as_equal_as_can_be() -> None:
    assert chunks_of(5, 16) == [slice(0, 5)]
    assert chunks_of(17, 16) == [slice(0, 8), slice(8, 17)]
    assert [rows.stop - rows.start for rows in chunks_of(10, 3)] == [2, 3, 2, 3]
    with pytest.raises(ValueError, match="chunk is 0"):
        chunks_of(4, 0)


@pytest.mark.slow
def test_poses_in_chunks_are_those_of_one_batch() -> None:
    pipeline = tiny_pipeline()
    draws = {"batch_index": [0, 1, 0, 2, 0], "seed": [3, 4, 5, 6, 7]}
    whole, parts = make(pipeline, 5, **draws), make(pipeline, 5, chunk=2, **draws)
    for name in ("image", "coarse", "target_embeds", "mask"):
        assert difference(getattr(parts, name), getattr(whole, name)) <= 1e-4


def test_a_source_and_a_pose_a_row_go_with_their_chunk() -> None:
    pipeline = tiny_pipeline()
    sources = torch.cat([picture(seed) for seed in range(3)])
    whole = pipeline(sources, poses(3, 50), poses(3), seed=0, steps=2)
    parts = pipeline(sources, poses(3, 50), poses(3), seed=0, steps=2, chunk=1)
    assert difference(parts.image, whole.image) <= 1e-4


def test_every_stage_makes_all_chunks_before_the_next_and_counts_their_steps() -> None:
    progress: list[tuple[str, int, int]] = []
    make(tiny_pipeline(), 3, chunk=2, callback=lambda *step: progress.append(step))
    stages = ("prior", "inpainting", "refining")
    assert progress == [(stage, done, 4) for stage in stages for done in (1, 2, 3, 4)]


@pytest.mark.parametrize("keep", ["denoisers", "one"])
def test_a_component_is_on_the_device_while_it_computes_and_at_no_other_time(keep: Any) -> None:
    parts = components()
    expected = make(PCDMsPipeline(TEST, **copy.deepcopy(parts)), 2)  # type: ignore[arg-type]
    pipeline = PCDMsPipeline(
        TEST,
        offload=Offload("cpu", keep),
        **parts,  # type: ignore[arg-type]
    )
    offload, host = pipeline.offload, {n: list(p.parameters()) for n, p in parts.items()}

    def away(name: str) -> bool:
        """Whether a component's weights are the host's."""
        return all(a is b for a, b in zip(parts[name].parameters(), host[name], strict=True))

    order: list[str] = []

    def look(name: str) -> Any:
        def hook(*_: Any) -> None:
            order.append(name)
            brought = {other for other in parts if host[other] and not away(other)}
            movable = host[name] and not offload.stays(name)
            assert brought == ({name} if movable else set())

        return hook

    names = {"patch_encoder": "model", "prior": "transformer", "inpainting": "unet",
             "refining": "unet", "autoencoder": "decoder"}  # fmt: skip
    for name, child in names.items():
        parts[name].get_submodule(child).register_forward_pre_hook(look(name))
    result = make(pipeline, 2)
    assert set(order) == set(names)
    assert all(away(name) for name in parts)
    assert difference(result.image, expected.image) <= 1e-4


def test_weights_come_back_as_they_were_also_after_an_error() -> None:
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    tied = nn.Linear(2, 2)
    tied.weight = layer[0].weight  # type: ignore[assignment]
    module = nn.ModuleList([layer, tied])
    before = [*module.parameters(), *module.buffers()]
    state = list(module.state_dict())
    offload = Offload("meta", "one")

    def fail() -> None:
        with offload.using("prior", module):
            assert {t.device.type for t in (*module.parameters(), *module.buffers())} == {"meta"}
            assert tied.weight is layer[0].weight
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    after = [*module.parameters(), *module.buffers()]
    assert all(a is b for a, b in zip(after, before, strict=True))
    assert list(module.state_dict()) == state


def test_from_folder_takes_what_stays_and_makes_the_same_pictures(tmp_path: Any) -> None:
    folder = save_tiny_weights(tmp_path)
    expected = make(PCDMsPipeline.from_folder(folder), 2)
    pipeline = PCDMsPipeline.from_folder(folder, keep="one", tiled=True)
    assert pipeline.offload.keep == "one"
    assert difference(make(pipeline, 2).image, expected.image) <= 1e-4


def test_pictures_are_decoded_one_at_a_time_and_large_ones_in_tiles_on_request() -> None:
    model: Any = randomise(KLAutoencoder(KL), 0).eval()
    sizes: list[tuple[int, ...]] = []
    model.vae.decoder.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape))
    latents = torch.randn(2, 4, 4, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = model.decode(latents)
        assert [size[0] for size in sizes] == [1, 1]
        assert difference(both[1:], model.decode(latents[1:])) <= 1e-4
        wide = torch.zeros(1, 4, 2, TILE // 8 + 8)
        sizes.clear()
        plain = model.decode(wide)
        model.set_tiling(True)
        tiled = model.decode(wide)
    assert len(sizes) > 2
    assert max(size[3] for size in sizes[1:]) <= TILE // 8 < sizes[0][3]
    assert tiled.shape == plain.shape
