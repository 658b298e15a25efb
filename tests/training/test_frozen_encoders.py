"""The encoders whose answers a cache keeps, and the files that hold them."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from pcdm_core.checkpoints.write import weights_hash
from training.features.cached import FrozenEncoders
from training.features.store import CacheError, FeatureTable
from training.loop.precision import EncoderPrecision, encoder_precision


def test_the_weights_of_an_encoder_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counted(tensors: dict[str, torch.Tensor]) -> str:
        counts.append(len(tensors))
        return weights_hash(tensors)

    monkeypatch.setattr("training.features.cached.weights_hash", counted)
    autoencoder, patch_encoder = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2, bias=False)
    encoders = replace(FrozenEncoders(), autoencoder=autoencoder, patch_encoder=patch_encoder)
    hashes = [encoders.weights_of(kind) for kind in ("source", "pair", "tokens", "source")]
    assert counts == [2, 1]
    assert hashes[0] == hashes[1] == hashes[3] == weights_hash(dict(autoencoder.state_dict()))
    assert hashes[2] != hashes[0]


@pytest.mark.parametrize("precision", get_args(EncoderPrecision))
@pytest.mark.parametrize("fails", [False, True])
def test_a_precision_is_the_encoders_alone(precision: EncoderPrecision, fails: bool) -> None:
    def switches() -> tuple[bool, bool, bool]:
        backends = torch.backends
        tf32 = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
        return *tf32, torch.is_autocast_enabled("cpu")

    before = switches()
    with suppress(RuntimeError), encoder_precision(precision, torch.device("cpu")):
        assert switches() == (precision == "tf32", precision == "tf32", precision == "bf16")
        if fails:
            raise RuntimeError
    assert switches() == before


def test_a_damaged_file_of_a_cache_is_named(tmp_path: Path) -> None:
    table = FeatureTable(tmp_path)
    table.append([bytes(32)], torch.zeros(1, 4))
    (path,) = tmp_path.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CacheError, match=r"part-000-000000\.arrow: damaged.*Delete this file"):
        FeatureTable(tmp_path)
