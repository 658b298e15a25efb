"""Tell a network a later timestep than the sampler's, worked into its weights.

`python -m training.tools.time_shift FILE --timesteps 20`: networks that learned little are too sure
of what they are shown, because in training it came from true pictures and in sampling from their
own earlier steps. Told that there is more noise than there is they take away more of their own
faults (arXiv 2305.15583, Alleviating Exposure Bias in Diffusion Models through Sampling with
Shifted Time Steps). Samplers and nodes stay as they are. The file's metadata says so; a negative
number undoes it, for training on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import Timesteps
from torch import Tensor, nn

from pcdm_core.checkpoints import inspect, load_model, save_model
from pcdm_core.cli import run
from pcdm_core.ranges import Range

NOTE = "timestep_shift"
TIMESTEPS = Range(-999, 999)  # a negative number undoes a shift


@torch.no_grad()
def shift_timesteps(model: nn.Module, timesteps: int) -> None:
    """Change a stage 2 or 3 model so that at t it does what it did at t + `timesteps`.

    Sines and cosines of t + d are a rotation of those of t, so the first linear map behind them
    takes the rotation in: exact but for rounding.
    """
    unet: Any = model.unet
    linear = unet.time_embedding.linear_1
    rotation = _rotation(unet.time_proj, timesteps)
    linear.weight.copy_((linear.weight.double() @ rotation).to(linear.weight))


def _rotation(projection: Timesteps, timesteps: int) -> Tensor:
    """[D, D] fp64: embedding of t -> embedding of t + `timesteps`, for any t."""
    if not projection.flip_sin_to_cos:
        raise ValueError(
            "Only embeddings with cosines first are known, as the presets' UNets have."
        )
    half = projection.num_channels // 2
    # The angles of t = 1, as the library has them.
    cosines, sines = projection(torch.ones(1, dtype=torch.int64)).double()[0].split(half)
    angles = torch.atan2(sines, cosines) * timesteps
    turn, lean = angles.cos().diag(), angles.sin().diag()
    return torch.cat([torch.cat([turn, -lean], dim=1), torch.cat([lean, turn], dim=1)])


def shift_file(path: Path, timesteps: int) -> int:
    """Change a weights file in place, whole or not at all; returns the shift that it has now.

    Raises:
        CheckpointError: it cannot be read.
        ValueError: it is not a file of stage 2 or 3.
    """
    file = inspect(path)
    if file.component not in ("inpainting", "refining"):
        raise ValueError(
            f"{path}: expected the model of stage 2 or 3, found {file.component}; only these "
            f"are told a timestep by a UNet."
        )
    model = load_model(path, stage=file.component)
    dtype = next(model.parameters()).dtype
    shift_timesteps(model, timesteps)
    now = int(file.metadata.get(NOTE, "0")) + timesteps
    note = {**file.metadata, NOTE: str(now)}
    save_model(model, path, stage=file.component, config=file.config, dtype=dtype, metadata=note)
    return now


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="time_shift", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, help="weights of stage 2 or 3, changed in place")
    parser.add_argument(
        "--timesteps", type=TIMESTEPS.parse, required=True, help="how many later; 20 is much"
    )
    options = parser.parse_args(arguments)

    def shift() -> None:
        now = shift_file(options.file, options.timesteps)
        print(f"{options.file}: told {now} timesteps more than the sampler's")

    return run(shift, "time_shift")


if __name__ == "__main__":
    raise SystemExit(main())
