"""What a run does not do: grow with its poses, load what it does not use, wait between steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.memory import LiveBytes
from pcdm_core.checkpoints import CheckpointError
from pcdm_core.config import AutoencoderConfig
from pcdm_core.models import PosePrior
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.presets import PRESETS
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler
from pcdm_core.vae import KLAutoencoder
from tests.core.runs import EVERY, SIMPLIFIED, tiny
from tests.core.tiny_pipeline import (
    TEST,
    components,
    picture,
    poses,
    save_tiny_weights,
    tiny_pipeline,
)

CHUNK = 4


# --- memory ---------------------------------------------------------------------------------------


def rows_of(parts: dict[str, nn.Module]) -> dict[str, list[int]]:
    """Rows of every call of each network, by the component's name."""
    rows: dict[str, list[int]] = {name: [] for name in parts}
    networks = {"inpainting": "unet", "refining": "unet", "autoencoder": "decoder"}
    for name, part in parts.items():
        network: Any = part.get_submodule(networks.get(name, ""))
        if isinstance(part, PosePrior):
            network = part.transformer.norm_out
        network.register_forward_pre_hook(
            lambda _, inputs, name=name: rows[name].append(len(inputs[0]))
        )
    return rows


def peak(pipeline: PCDMsPipeline, count: int, chunk: int) -> int:
    with LiveBytes() as counted:
        pipeline(picture(), poses(1, 50), poses(count), seed=0, steps=2, chunk=chunk)
    return counted.peak


@pytest.mark.slow
def test_no_more_rows_than_a_chunks_reach_a_model_however_many_poses_there_are() -> None:
    parts = components()
    pipeline = PCDMsPipeline(TEST, **parts)  # type: ignore[arg-type]
    rows = rows_of(parts)
    largest: list[dict[str, int]] = []
    for count in (4, 16, 64):
        for counts in rows.values():
            counts.clear()
        pipeline(picture(), poses(1, 50), poses(count), seed=0, steps=2, chunk=CHUNK)
        largest.append({name: max(counts) for name, counts in rows.items()})
        assert len(rows["inpainting"]) == 2 * count // CHUNK
        assert len(rows["patch_encoder"]) == len(rows["global_encoder"]) == 1
    encoders = {"patch_encoder": 1, "global_encoder": 1}
    guided = {"inpainting": 2 * CHUNK, "refining": 2 * CHUNK}
    expected = {**encoders, **guided, "prior": CHUNK, "autoencoder": CHUNK}
    assert largest == [expected] * 3


@pytest.mark.slow
def test_beyond_a_chunk_only_what_waits_for_its_stage_adds_to_the_memory() -> None:
    pipeline = tiny_pipeline()
    one, few, many = (peak(pipeline, count, CHUNK) for count in (4, 8, 24))
    image = 4 * 3 * TEST.height * TEST.width
    assert (many - few) / 16 <= 4 * image  # coarse, refined, their list and its whole
    assert peak(pipeline, 8, 8) - one > 4 * (few - one)  # without chunks it is the stages' memory


# --- files and models -----------------------------------------------------------------------------


def make_unreadable(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.safetensors").write_bytes(b"these are no weights")


def test_without_stage_3_its_file_is_not_opened(tmp_path: Path) -> None:
    folder = save_tiny_weights(tmp_path)
    make_unreadable(folder, "refining")
    with pytest.raises(CheckpointError, match="refining"):
        PCDMsPipeline.from_folder(folder)
    pipeline = PCDMsPipeline.from_folder(folder, with_refining=False)
    assert pipeline.refining is None
    (folder / "refining.safetensors").unlink()
    pipeline = PCDMsPipeline.from_folder(folder, with_refining=False)
    image = pipeline(picture(), poses(1, 50), poses(1), seed=0, steps=2).image
    assert image.isfinite().all()


def test_a_preset_without_a_prior_opens_no_file_of_it_nor_of_its_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(
        TEST, name="alone", inpainting=SIMPLIFIED, prior=None, global_encoder=None, refining=None
    )
    monkeypatch.setitem(PRESETS, "alone", alone)  # type: ignore[arg-type]
    folder = save_tiny_weights(tmp_path, alone)
    make_unreadable(folder, "prior", "global_encoder", "refining")
    pipeline = PCDMsPipeline.from_folder(folder)
    assert pipeline.prior is pipeline.global_encoder is pipeline.refining is None
    assert pipeline(picture(), poses(1, 50), poses(1), seed=0, steps=2).target_embeds is None


def test_a_coarse_run_calls_nothing_of_stage_3_though_it_is_loaded() -> None:
    parts = components()
    pipeline = PCDMsPipeline(TEST, **parts)  # type: ignore[arg-type]
    calls: list[str] = []
    for name in ("refining", "autoencoder"):
        for child in parts[name].modules():
            if not child._parameters:  # older libraries share a module of this kind between models
                continue
            child.register_forward_pre_hook(lambda module, _: calls.append(type(module).__name__))
    pipeline(picture(), poses(1, 50), poses(1), seed=0, steps=2, with_refining=False)
    assert calls == ["Conv2d", "ConvTranspose2d"]  # the source's code, and the coarse picture


# --- waiting for the device -----------------------------------------------------------------------


class Crossings(TorchDispatchMode):
    """Counts tensors that an operation brings from one device to another."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        copies = func.overloadpacket.__name__ in ("_to_copy", "copy_")
        self.count += copies and len({x.device for x in leaves}) > 1
        return out


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_the_loop_runs_on_a_device_that_can_give_no_value_back(
    stage: str, guidance_scale: float
) -> None:
    model, cond, noise = tiny(stage, 2)
    model, cond, noise = model.to("meta"), cond.to("meta"), noise.to("meta")
    options: dict[str, Any] = {"guidance_scale": guidance_scale, "steps": 4}
    if stage == "prior":
        options["step_noise"] = torch.zeros(3, *noise.shape, device="meta")
    crossed: list[int] = []
    with Crossings() as mode:
        result = sample(
            model,
            make_scheduler(model.config.schedule),
            noise,
            cond,
            model.unconditional(cond),
            callback=lambda *_: crossed.append(mode.count),
            **options,
        )
    assert result.is_meta
    assert result.shape == noise.shape
    assert len(crossed) == 4
    assert crossed[-1] == crossed[0]  # nothing is brought over between steps


# --- attention ------------------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    def fused(self) -> int:
        return sum("scaled_dot_product" in name and "math" not in name for name in self.names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_attention_of_a_run_is_the_librarys_fused_kernel(
    dtype: torch.dtype,
) -> None:
    parts = {name: part.to(dtype) for name, part in components().items()}
    pipeline = PCDMsPipeline(TEST, **parts)  # type: ignore[arg-type]
    steps = 2
    with Operations() as operations:
        settings: dict[str, Any] = {"seed": 0, "steps": steps}
        pipeline(picture(), poses(1, 50), poses(2), **settings)
    layers = {
        name: sum(type(m).__name__.endswith("Attention") and hasattr(m, "to_q")
                  for m in part.modules()) for name, part in parts.items()
    }  # fmt: skip
    assert min(layers[name] for name in ("prior", "inpainting", "refining")) > 0
    in_loops = sum(steps * count for count in layers.values())
    assert operations.fused() == in_loops + TEST.patch_encoder.num_layers
    assert not {"_softmax", "softmax", "_safe_softmax", "baddbmm"} & set(operations.names)


def test_the_published_kind_of_autoencoder_attends_by_the_fused_kernel() -> None:
    config = AutoencoderConfig(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    model = KLAutoencoder(config).eval()
    with torch.no_grad(), Operations() as operations:
        model.decode(model.encode(torch.zeros(1, 3, 32, 32)))
    assert operations.fused() == 2  # the middle of the encoder, and of the decoder
    assert "_softmax" not in operations.names
