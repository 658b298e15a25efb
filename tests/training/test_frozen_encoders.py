"""The encoders whose answers a cache keeps."""

from dataclasses import replace

import pytest
import torch

from pcdm_core.checkpoints.write import weights_hash
from training.features.cached import FrozenEncoders


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
