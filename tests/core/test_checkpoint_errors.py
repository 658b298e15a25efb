"""Weights files that are refused, and with which words."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pcdm_core.checkpoints import (
    build,
    inspect,
    load_component,
    load_model,
    save_model,
    shipped_weights,
)
from pcdm_core.checkpoints import load as checkpoints
from pcdm_core.checkpoints.write import write_state_dict
from pcdm_core.config import config_to_dict
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import TEST, randomise
from tests.core.weights_files import message, same, tiny_component, upstream_state

GOLDEN = Path(__file__).parents[1] / "golden" / "parity" / "loader"


def test_a_stage_1_file_offered_as_stage_2_is_named(tmp_path: Path) -> None:
    torch.save({"module": upstream_state("stage 1")}, tmp_path / "s2_256.pt")
    words = message(load_model, tmp_path / "s2_256.pt", stage="inpainting")
    assert str(tmp_path / "s2_256.pt") in words
    assert "is a stage-1 model (prior), but a stage-2 model (inpainting) was asked for" in words
    assert "use s2_512.pt" in words
    assert words == message(load_model, tmp_path / "s2_256.pt", config=TEST.inpainting)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "truncated.pt")
    assert "truncated.pt (20000 bytes) is a truncated PyTorch file" in words
    assert "download it again" in words
    path = save_model(tiny_component("prior"), tmp_path / "x.safetensors", stage="prior")
    path.write_bytes(path.read_bytes()[:-100])
    words = message(load_model, path)
    assert str(path) in words
    assert "damaged or truncated safetensors" in words


def test_a_pickle_with_foreign_classes_is_refused_without_running_it(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "foreign_class.pt")
    assert "foreign_class.pt is a pickle with more than plain tensors" in words
    assert "save the dictionary of tensors alone" in words
    ran = tmp_path / "ran"

    class Malice:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"module": Malice()}))
    assert "evil.pt" in message(load_model, tmp_path / "evil.pt")
    assert not ran.exists()


def doubled_tuple(levels: int) -> bytes:
    """A pickle of a dictionary whose key is a tuple of tuples, each of which holds one twice."""
    tuples = [b"K\x01\x85q\x01"]
    tuples += [b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(1, levels)]
    return b"\x80\x02}q\x00(" + b"".join(tuples) + b"tK\x00s."


@pytest.mark.parametrize(
    "content", [doubled_tuple(20), b"\x80\x02}" + b")" + b"\x85" * 60 + b"K\x00s."]
)
def test_a_key_of_nested_tuples_is_refused_before_it_is_looked_up(
    content: bytes, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    assert "nests tuples as no weights file does" in message(lambda: load_model(tmp_path / "a.pt"))
    key: Any = ("a",)
    for _ in range(60):
        key = (key,)
    torch.save({key: torch.zeros(1)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert "nests tuples as no weights file does" in message(lambda: load_model(tmp_path / "b.pt"))


def test_a_file_without_module_whose_keys_match_nothing_is_named(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "no_module_key.pt")
    assert "no_module_key.pt (PyTorch file without `module`) holds 1 tensors" in words
    assert "Nearest is a stage-2 model (inpainting)" in words
    torch.save({"optimizer": {}, "step": 3}, tmp_path / "state.pt")
    words = message(load_model, tmp_path / "state.pt")
    assert "has no `module` entry" in words
    assert "optimizer, step" in words


def test_safetensors_of_another_model_are_named(tmp_path: Path) -> None:
    tensor = {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2)}
    save_file(tensor, tmp_path / "sd.safetensors")
    words = message(load_model, tmp_path / "sd.safetensors")
    assert "sd.safetensors" in words
    assert "a Stable Diffusion checkpoint in its original layout" in words
    save_file({"encoder.w": torch.ones(2)}, tmp_path / "other.safetensors")
    assert "Its keys are those of another model" in message(
        load_model, tmp_path / "other.safetensors"
    )


def test_a_missing_file_lists_what_is_there(tmp_path: Path) -> None:
    assert "has no weights files" in message(load_component, tmp_path, "prior")
    save_model(tiny_component("refining"), tmp_path / "refining.safetensors", stage="refining")
    words = message(load_component, tmp_path, "prior")
    assert f"{tmp_path / 'prior.safetensors'} does not exist" in words
    assert "refining.safetensors" in words
    assert "no folder" in message(load_model, tmp_path / "nowhere" / "x.safetensors")


def test_a_folder_of_one_file_stands_for_it_and_of_several_is_refused(tmp_path: Path) -> None:
    save_model(tiny_component("refining"), tmp_path / "a.safetensors", stage="refining")
    assert same(load_model(tmp_path), tiny_component("refining"))
    save_model(tiny_component("prior"), tmp_path / "b.safetensors", stage="prior")
    words = message(load_model, tmp_path)
    assert "choose one weights file" in words
    assert "a.safetensors, b.safetensors" in words


def parts_of(folder: Path, seed: int = 3) -> list[Path]:
    model = randomise(build("prior", TEST.prior), seed)
    save_model(model, folder / "x.safetensors", stage="prior", max_shard_bytes=40_000)
    return sorted(folder.glob("x-*.safetensors"))


def test_missing_broken_and_foreign_parts_are_named(tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "one")
    others = parts_of(tmp_path / "other", seed=4)
    path = tmp_path / "one" / "x.safetensors"
    whole = parts[1].read_bytes()

    parts[1].unlink()
    words = message(load_model, path)
    assert f"missing: {parts[1].name}" in words

    parts[1].write_bytes(whole[:-50])
    words = message(load_model, path)
    assert str(parts[1]) in words
    assert words.endswith("It is a part of x.safetensors.index.json.")

    shutil.copyfile(others[1], parts[1])
    assert "belongs to another save" in message(load_model, path)

    parts[1].write_bytes(whole)
    load_model(path)
    (tmp_path / "one" / "x.safetensors.index.json").unlink()
    assert "its index x.safetensors.index.json is missing" in message(load_model, parts[0])


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": {"a": "../../secret.safetensors"}}', '{"weight_map": 3}']
)
def test_a_broken_index_is_named(content: str, tmp_path: Path) -> None:
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(content)
    assert str(index) in message(load_model, tmp_path / "x.safetensors")


PART = "x-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", f"../{PART}", f"..\\{PART}", f"/tmp/{PART}", f"sub/{PART}", f"sub\\{PART}",
        f"C:{PART}", f"C:\\{PART}", f"{PART}\0.safetensors", f"a\n{PART}", "notes.txt", PART + "/",
        "x" * 5000 + ".safetensors", "\u20ac" * 100 + ".safetensors",
    ],
)  # fmt: skip
def test_an_index_names_files_beside_it_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts_of(tmp_path / "one")
    (tmp_path / PART).write_bytes((tmp_path / "one" / PART).read_bytes())
    index = tmp_path / "one" / "x.safetensors.index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    parts_by_key = content["weight_map"]
    content["weight_map"] = {
        key: name if part == PART else part for key, part in parts_by_key.items()
    }
    index.write_text(json.dumps(content), encoding="utf-8")
    looked_at: list[str] = []
    real = Path.stat

    def watch(path: Path, **options: Any) -> Any:
        looked_at.append(str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", watch)
    words = message(load_model, index.with_name("x.safetensors"))
    assert f"{index} names a part that is no .safetensors file beside it (" in words
    assert "\n" not in words
    assert len(words) < 400
    assert set(looked_at) <= {str(index), str(index.with_name("x.safetensors"))}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Google Drive - virus scan", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"", "neither safetensors nor a PyTorch file"),
        (b"PK\x03\x04garbage", "truncated"),
        (b"\x80\x02garbage", "plain tensors or damaged"),
    ],
)
def test_what_is_no_weights_file_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s2_512.pt"
    path.write_bytes(content)
    sentence = message(load_model, path)
    assert words in sentence
    assert str(path) in sentence


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a system without /proc")
def test_a_file_that_cannot_be_read_is_named() -> None:
    words = message(inspect, "/proc/self/mem")
    assert words.startswith("/proc/self/mem cannot be read (")


def test_a_configuration_that_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = save_model(tiny_component("refining"), tmp_path / "x.safetensors", stage="refining")
    words = message(load_model, path, config=PRESETS["mini"].refining)
    assert "width 32" in words
    assert "expected" in words
    assert "width 64" in words


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    state = tiny_component("prior").state_dict()
    state["transformer.extra.weight"] = state.pop("transformer.norm_out.weight")
    state["transformer.norm_out.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "x.safetensors")
    words = message(load_model, tmp_path / "x.safetensors", config=TEST.prior)
    assert "1 missing: transformer.norm_out.weight" in words
    assert "1 unexpected: transformer.extra.weight" in words
    assert "1 misshapen: transformer.norm_out.bias [3] instead of [16]" in words


def test_files_of_other_versions_say_so(tmp_path: Path) -> None:
    state = tiny_component("prior").state_dict()
    config = {**config_to_dict(TEST.prior), "colour": 3}
    metadata = {"pcdm_format": "1", "stage": "prior", "config": json.dumps(config)}
    path = write_state_dict(state, tmp_path / "x.safetensors", metadata)
    assert "no field colour" in message(load_model, path)
    path = write_state_dict(state, tmp_path / "x.safetensors", {**metadata, "pcdm_format": "2"})
    assert "written by a newer version" in message(load_model, path)


def test_weights_are_written_as_safetensors_only(tmp_path: Path) -> None:
    words = message(save_model, tiny_component("prior"), tmp_path / "x.pt", stage="prior")
    assert "written as safetensors" in words


def test_presets_without_shipped_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS_FOLDER", tmp_path)
    (tmp_path / "mini").mkdir()
    assert shipped_weights() == tmp_path / "mini"
    words = message(shipped_weights, "published")
    assert "no weights ship for the preset 'published'" in words
    assert "With the pack come: mini" in words
