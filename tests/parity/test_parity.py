"""The pack against the published implementation, on the reference tensors that come with it.

Only tiny reference tensors and rule-made weights are used; nothing is loosened here: tolerances
are those of the manifests.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pcdm_core.checkpoints import save_model
from pcdm_core.images import known_mask
from pcdm_core.models import InpaintingModel, PosePrior, inpainting
from tests.core.tiny_pipeline import TEST
from tests.parity.__main__ import compare, main
from tests.parity.fixtures import Entry, find_fixtures
from tests.parity.keep import keep

GOLDEN = Path(__file__).parents[1] / "golden"

# Each kind with some of what must be among its comparisons.
KINDS = {
    "parity/stage1": {
        "forward.out", "loop.out.image_embeds", "loop20.out.image_embeds",
        "loop_cfg.out.image_embeds", "clip.out.image_embeds", "weights: weights made again",
    },
    "parity/stage2": {
        "forward.out", "forward_odd.out", "pose.out", "proj.out", "vae.mean", "loop.unet_in0",
        "loop.ctx", "loop.out.image", "loop_n2.out.image", "loop_nocfg.out.image",
        "loop20.latents_per_step", "weights: weights made again", "vae: weights made again",
    },
    "parity/stage3": {
        "forward.out", "loop.out.image", "loop_norescale.out.image", "loop_b2.out.image",
        "loop20.out.image", "weights: weights made again",
    },
    "parity/simple": {
        "loop.in.negative_prompt_embeds", "loop.in.mask", "loop.out.latents",
        "weights: weights made again",
    },
    "parity/encoders": {
        "dino.native.out", "dino.interp.out", "clip_processor.out_352x512",
        "dino: weights made again",
    },
    "parity/native": {
        *(f"{stage}.{case}.out" for stage in ("inpainting", "refining")
          for case in ("even", "odd", "single")),
        "inpainting: weights made again", "refining: weights made again",
    },
    "parity/metrics": {"p02a_to_p02b ssim", "p01a_to_p01b psnr", "p02a_to_p02b l1"},
    "parity/loader": {
        "foreign_class.pt is refused", "no_module_key.pt is refused", "truncated.pt is refused",
    },
    "skeleton": {"skeleton_03.png", "skeleton_00.png as a picture tensor"},
}  # fmt: skip


def out_of(entries: list[Entry]) -> set[str]:
    """Names of what is out of tolerance, without the fixture's."""
    return {entry.name.split(" ", 1)[1] for entry in entries if not entry.ok}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_tensor_is_met_within_its_tolerance(kind: str) -> None:
    result = compare(GOLDEN / kind)
    names = {entry.name.split(" ", 1)[1] for entry in result.entries}
    assert KINDS[kind] <= names
    assert [entry.line() for entry in result.entries if not entry.ok] == []
    assert result.not_compared == []


def test_every_golden_folder_is_compared() -> None:
    folders = {path.relative_to(GOLDEN).as_posix() for path in find_fixtures(GOLDEN / "parity")}
    assert folders | {"skeleton"} == set(KINDS)


# --- the comparison notices ----------------------------------------------------------------------


def inverted(*arguments: Any, **options: Any) -> Tensor:
    return 1 - known_mask(*arguments, **options)


@pytest.mark.slow
def test_an_inverted_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inpainting, "known_mask", inverted)
    out = out_of(compare(GOLDEN / "parity" / "stage2").entries)
    assert {"loop.unet_in0", "loop.unet_out", "loop.latents_per_step", "loop.out.image"} <= out
    # Single passes are given their mask by the fixture and stay as they are.
    assert "forward.out" not in out


def without_pose(model: InpaintingModel, *inputs: Any) -> Any:
    cond = CONDITION(model, *inputs)
    return type(cond)(cond.tokens, cond.concat, torch.zeros_like(cond.pose), cond.embed)  # type: ignore[arg-type]


def without_target_token(model: InpaintingModel, *inputs: Any) -> Any:
    cond = CONDITION(model, *inputs)
    return type(cond)(cond.tokens[:, :-1], cond.concat, cond.pose, cond.embed)


CONDITION = InpaintingModel.condition


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        (without_pose, {"loop.pose_cond", "loop.out.image"}),
        (without_target_token, {"loop.ctx [2, 26, 32] for [2, 27, 32]", "loop.out.image"}),
    ],
)
def test_forgotten_conditions_are_noticed(
    mistake: Callable[..., Any], noticed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InpaintingModel, "condition", mistake)
    assert noticed <= out_of(compare(GOLDEN / "parity" / "stage2").entries)


def test_an_error_that_is_no_number_is_out() -> None:
    assert not Entry("x", float("nan"), 1.0).ok
    assert Entry("x", 0.0, 0.0).ok


# --- the command ---------------------------------------------------------------------------------


def copied(kind: str, folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / kind, folder / Path(kind).name))


def changed_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return folder


def test_the_command_prints_a_line_each_and_ends_with_the_sum(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(GOLDEN / "parity" / "encoders")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("dino.interp.out" in line and "2e-05" in line and "ok" in line for line in lines)
    assert lines[-1] == "4 compared, 0 out of tolerance"


def test_one_value_out_of_tolerance_makes_the_command_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("parity/encoders", tmp_path)
    changed_manifest(folder, lambda m: m["tolerance"].update(dino=1e-12))
    assert main([str(tmp_path)]) == 1
    assert "OUT" in capsys.readouterr().out


def test_weights_that_come_out_differently_make_the_command_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("parity/encoders", tmp_path)
    changed_manifest(folder, lambda m: m["weights_sha256"].update(dino="0" * 64))
    assert main([str(folder)]) == 1
    assert "dino: weights made again" in capsys.readouterr().out


def test_settings_are_read_from_the_manifest(tmp_path: Path) -> None:
    folder = copied("parity/stage1", tmp_path)
    shutil.copytree(GOLDEN / "parity" / "encoders", tmp_path / "encoders")

    def other(manifest: dict[str, Any]) -> None:
        manifest["scheduler"]["config"]["clip_sample_range"] = 1.0
        manifest["loops"]["loop_cfg"]["guidance_scale"] = 3.0

    out = out_of(compare(changed_manifest(folder, other)).entries)
    assert {"loop.out.image_embeds", "loop_cfg.out.image_embeds"} <= out
    assert "forward.out" not in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("weight_seeds"), "states no weight_seeds"),
        (lambda m: m["scheduler"]["config"].update(solver_order=3), "solver_order 3"),
        (lambda m: m["scheduler"].update(cls="EulerScheduler"), "EulerScheduler"),
        (lambda m: m["config"].clear(), "of no known kind"),
        (lambda m: m["config"]["unet"].pop("sample_size"), "sample_size"),
    ],
)
def test_a_bad_folder_gets_a_sentence(
    change: Callable[[dict[str, Any]], object],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed_manifest(copied("parity/stage2", tmp_path), change)
    assert main([str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_missing_tensors_and_folders_get_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("parity/stage2", tmp_path)
    (folder / "tensors.safetensors").unlink()
    for path, words in (
        (folder, "tensors.safetensors does not exist"),
        (tmp_path / "nowhere", "is no folder"),
        (tmp_path / "empty", "holds nothing that can be compared"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main([str(path)]) == 2
        assert words in capsys.readouterr().err
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_what_is_not_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied("parity/encoders", tmp_path) / "tensors.safetensors"
    save_file({**load_file(path), "spare.out": torch.zeros(1)}, path)
    assert main([str(tmp_path)]) == 0
    assert "not compared: encoders spare.out" in capsys.readouterr().out


def test_a_figure_of_another_protocol_is_noticed(tmp_path: Path) -> None:
    folder = copied("parity/metrics", tmp_path)

    def other(manifest: dict[str, Any]) -> None:
        manifest["size"] = [352, 512]

    assert len(out_of(compare(changed_manifest(folder, other)).entries)) == 8


def test_a_file_that_loads_is_no_refusal(tmp_path: Path) -> None:
    folder = copied("parity/loader", tmp_path)
    assert TEST.prior is not None
    save_model(PosePrior(TEST.prior), folder / "good.safetensors", stage="prior")
    assert out_of(compare(folder).entries) == {"good.safetensors is refused"}


def test_kept_fixtures_state_what_their_weights_must_hash_to(tmp_path: Path) -> None:
    # From kept fixtures there are no weights to hash: everything else is copied as it is.
    keep(GOLDEN / "parity" / "native", tmp_path / "native")
    assert sorted(p.name for p in (tmp_path / "native").iterdir()) == [
        "manifest.json",
        "tensors.safetensors",
    ]
    manifest_kept, original = (
        json.loads((folder / "native" / "manifest.json").read_text())
        for folder in (tmp_path, GOLDEN / "parity")
    )
    assert manifest_kept == original
    for kind in ("stage1", "stage2", "stage3", "simple", "encoders"):
        manifest = json.loads((GOLDEN / "parity" / kind / "manifest.json").read_text())
        assert all(len(digest) == 64 for digest in manifest["weights_sha256"].values())
