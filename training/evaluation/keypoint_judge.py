"""A small key-point regressor trained on renders: a second judge of poses, never part of training.

`python -m training.evaluation.keypoint_judge --data data/people` trains it in some minutes on
rendered people and writes `runs/keypoint_judge.safetensors`, which `evaluate` reads. The weights do
not ship. The same people, options, machine and number of threads give the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from pcdm_core.files import write_bytes
from pcdm_core.images import from_uint8, to_uint8
from pcdm_core.pose.keypoints import MIRROR
from pcdm_core.pose.pck import box_height, correct_keypoints
from pcdm_core.ranges import COUNT, SEED

from ..data.in_memory import identity_folders
from ..stages.perception import place_entropy
from ..synthetic.camera import VISIBLE
from .held_out_pairs import Shot, no_people, read_person

logger = logging.getLogger(__name__)

DEFAULT_FILE = Path("runs/keypoint_judge.safetensors")
SIZE = (96, 64)
"""Height and width that the regressor looks at; pictures of other sizes are resized to it."""
CELL = 4  # pixels of the input that one cell of a joint's map covers
HELD_OUT = 60  # people, the last of the folder
JOINTS = 18


def _layers(width_in: int, width_out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
    return [convolution, nn.BatchNorm2d(width_out), nn.ReLU()]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_layers(width, width), *_layers(width, width)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class KeypointRegressor(nn.Module):
    """Pictures [B, 3, 96, 64] in [-1, 1] -> maps [B, 18, 24, 16] and logits of being seen [B, 18].

    A softmax over a joint's map is where the joint may be; its mean is the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, 32, 8, CELL, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(), _Residual(32)
        )
        self.coarse = nn.Sequential(
            nn.Sequential(*_layers(32, 64, 2)), *(_Residual(64) for _ in range(3))
        )
        self.maps = nn.Sequential(nn.Sequential(*_layers(64 + 32, 32)), nn.Conv2d(32, JOINTS, 1))
        self.seen = nn.Sequential(nn.Linear(2 * 64, 64), nn.ReLU(), nn.Linear(64, JOINTS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(pictures)
        coarse = self.coarse(fine)
        wide = functional.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        pooled = torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3))], dim=1)
        return self.maps(torch.cat([wide, fine], dim=1)), self.seen(pooled)


class KeypointJudge:
    """A trained regressor as `evaluate` uses it."""

    def __init__(self, network: KeypointRegressor, name: str) -> None:
        self.network = network.eval()
        self.name = name

    @classmethod
    def load(cls, path: Path) -> KeypointJudge:
        """Read what `main` wrote.

        Raises:
            FileNotFoundError: there is no such file; the command that makes it is named.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no key-point regressor. Train one with `python -m training.evaluation."
                f"keypoint_judge --data data/people --out {path}`, where data/people is what "
                "`python run.py train-mini` or `python -m training.synthetic` rendered."
            )
        network = KeypointRegressor()
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        network.load_state_dict(state)
        digest = hashlib.sha256()  # of the weights: the order of a file's metadata is not fixed
        for key in sorted(state):
            digest.update(state[key].numpy().tobytes())
        return cls(network, f"{about.get('name', path.stem)} ({digest.hexdigest()[:8]})")

    @torch.no_grad()
    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [B, H, W, 3] -> pixel positions float32 [B, 18, 2] and probabilities [B, 18].

        The probability is that of the joint being seen, neither hidden nor outside.
        """
        height, width = pictures.shape[1:3]
        maps, logits = self.network(small(pictures))
        scale = torch.tensor([width, height], dtype=torch.float32)
        return (expected_place(maps) * scale).numpy(), logits.sigmoid().numpy()


def small(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> [B, 3, 96, 64] in [-1, 1]."""
    x = from_uint8(pictures)
    if x.shape[-2:] == SIZE:
        return x
    return functional.interpolate(x, SIZE, mode="bilinear", antialias=True)


def expected_place(maps: Tensor) -> Tensor:
    """Maps [B, 18, h, w] -> mean places [B, 18, 2], x and y as shares of width and height."""
    rows, columns = maps.shape[-2:]
    share = maps.flatten(2).softmax(-1).unflatten(2, (rows, columns))
    x = share.sum(2) @ ((torch.arange(columns) + 0.5) / columns)
    y = share.sum(3) @ ((torch.arange(rows) + 0.5) / rows)
    return torch.stack([x, y], dim=-1)


def vary(
    pictures: Tensor, places: Tensor, codes: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror, recolour, blur and spoil, so that the judge reads poses from poor pictures too."""
    batch = len(pictures)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    flipped = draw(batch) < 0.5
    mirrored = places[:, list(MIRROR)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    places = torch.where(flipped[:, None, None], mirrored, places)
    codes = torch.where(flipped[:, None], codes[:, list(MIRROR)], codes)
    x = torch.where(flipped[:, None, None, None], pictures.flip(-1), pictures)
    x = x * (0.8 + 0.4 * draw(batch, 3, 1, 1)) + 0.3 * (draw(batch, 3, 1, 1) - 0.5)
    small = functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    x = torch.lerp(x, small, (1.6 * draw(batch, 1, 1, 1) - 0.6).clamp(0, 1))
    noise = torch.randn(x.shape, generator=generator)
    return (x + 0.15 * draw(batch, 1, 1, 1) * noise).clamp(-1, 1), places, codes


def loss_of(maps: Tensor, logits: Tensor, places: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy with a soft cell around each joint in the frame, and of being seen."""
    entropy = place_entropy(maps, places)  # [B, 18]
    visible = codes == VISIBLE
    weight = visible + 0.3 * (codes == 1)
    visibility = functional.binary_cross_entropy_with_logits(logits, visible.float())
    return (entropy * weight).sum() / weight.sum().clamp_min(1.0) + 0.5 * visibility


def train(
    folders: Sequence[Path], *, steps: int, batch_size: int, seed: int, views: int | None
) -> tuple[KeypointJudge, dict[str, float]]:
    """Train on all but the last people; the figures are those on the last.

    Raises:
        ValueError: there are too few people.
    """
    held_out = min(HELD_OUT, len(folders) // 5)
    if held_out == 0:
        raise ValueError(f"{len(folders)} people are too few; render at least 5.")
    shots = [shot for folder in folders[:-held_out] for shot in read_person(folder, views)]
    stack = np.concatenate([to_uint8(small(shot.picture[None])) for shot in shots])
    pictures = torch.from_numpy(stack).permute(0, 3, 1, 2)
    shares = np.stack([shot.xy / np.array(shot.mask.shape[::-1]) for shot in shots])
    places = torch.from_numpy(shares.astype(np.float32))
    codes = torch.from_numpy(np.stack([1 * shot.inside + shot.visible for shot in shots]))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = KeypointRegressor()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(pictures), (batch_size,), generator=generator)
        x = pictures[rows].float() / 127.5 - 1
        x, *joints = vary(x, places[rows], codes[rows], generator)
        loss = loss_of(*network(x), *joints)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            logger.info("step %d of %d: loss %.3f", step, steps, loss.item())
    people = len(folders) - held_out
    name = f"key-point regressor trained on renders of {people} people in {steps} steps"
    judge = KeypointJudge(network, name)
    unseen = [shot for folder in folders[-held_out:] for shot in read_person(folder)]
    return judge, figures_of(judge, unseen)


def figures_of(judge: KeypointJudge, shots: Sequence[Shot]) -> dict[str, float]:
    """PCK at .1 and .05 on true pictures, and how often being seen is judged right."""
    places, certainties = judge(np.stack([shot.picture for shot in shots]))
    reported = certainties > 0.5
    visible = np.stack([shot.visible for shot in shots])
    figures = {"seen_right": float((visible == reported).mean())}
    for share in (0.1, 0.05):
        correct = [
            correct_keypoints(a, shot.xy, box_height(shot.mask), share)[mask]
            for a, shot, mask in zip(places, shots, visible & reported, strict=True)
        ]
        figures[f"pck_{share}"] = float(np.concatenate(correct).mean())
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    from pcdm_core.cli import run

    parser = argparse.ArgumentParser(
        prog="keypoint_judge", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path("data/people"), help="rendered people")
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, default=DEFAULT_FILE)
    parser.add_argument("--steps", type=COUNT.parse, default=2000)
    parser.add_argument("--batch", type=COUNT.parse, default=32)
    parser.add_argument("--views", type=COUNT.parse, help="pictures of each person (default all)")
    parser.add_argument("--seed", type=SEED.parse, default=0)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run(lambda: _write(options), "keypoint_judge")


def _write(options: argparse.Namespace) -> None:
    folders = identity_folders(options.data, options.split)
    if not folders:
        raise FileNotFoundError(no_people(options.data, options.split))
    judge, figures = train(
        folders,
        steps=options.steps,
        batch_size=options.batch,
        seed=options.seed,
        views=options.views,
    )
    about = {"name": judge.name, "figures": json.dumps(figures), "seed": str(options.seed)}
    state = {name: tensor.contiguous() for name, tensor in judge.network.state_dict().items()}
    write_bytes(options.out, save(state, metadata=about))
    text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    print(f"{options.out}: on people held out {text}")


if __name__ == "__main__":
    sys.exit(main())
