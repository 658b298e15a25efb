"""How pictures look to a small network that was trained on renders, as a loss.

Squared error alone rewards blur. A network that had to find the joints of rendered people, tell
what is seen of them and recognise a person in another view looks at edges, faces and cloth, and
the distance of its features (as Zhang et al. 2018, arXiv 1801.03924, measure it; for diffusion
models Lin and Yang 2024, arXiv 2401.00110) says where a picture fails there. It is trained on the
run's own people from nothing; no judge of the evaluation and no pretrained network takes part.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdm_core.checkpoints.files import CheckpointError, read_state_dict
from pcdm_core.checkpoints.write import write_state_dict
from pcdm_core.images import from_planes
from pcdm_core.pose.keypoints import Keypoints

from ..config import PerceptionRun
from ..data.in_memory import People
from ..evaluation.metrics import LUMA
from ..loop.sample_rng import seed_part

logger = logging.getLogger(__name__)

JOINTS = 18
WIDTHS = (16, 32, 64, 128)
WINDOW = 6
"""Side in pixels of the windows in which texture is compared."""
TEXTURE_FLOOR = 0.02**2
"""Energy of a Laplacian, of pictures in [-1, 1], that counts as none."""
SPREAD_FLOOR = 0.01
"""Variance of features that counts as none."""


def _layer(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


class PerceptionNetwork(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] -> features of four levels; from them joints and person."""

    def __init__(self, embedding_dim: int = 64) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.levels = nn.ModuleList(
            [
                _layer(3, first),
                nn.Sequential(_layer(first, second, 2), _layer(second, second)),
                nn.Sequential(_layer(second, third, 2), _layer(third, third)),
                nn.Sequential(_layer(third, fourth, 2), *(_layer(fourth, fourth) for _ in "ab")),
            ]
        )
        self.maps = nn.Sequential(_layer(third + fourth, 32), nn.Conv2d(32, JOINTS, 1))
        pooled = second + third + fourth
        self.seen = nn.Sequential(nn.Linear(fourth * 2, 64), nn.ReLU(), nn.Linear(64, JOINTS))
        self.embedding = nn.Linear(2 * pooled, embedding_dim)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """From fine to coarse: [B, 16, H, W], [B, 32, H/2, W/2], [B, 64, H/4, W/4], ..."""
        levels: list[Tensor] = []
        x = pictures
        for level in self.levels:
            x = level(x)
            levels.append(x)
        return levels

    def joints(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of each joint's place [B, 18, H/4, W/4] and of its being seen [B, 18]."""
        fine, coarse = features[-2:]
        wide = functional.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        pooled = torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3))], dim=1)
        return self.maps(torch.cat([wide, fine], dim=1)), self.seen(pooled)

    def person(self, features: list[Tensor]) -> Tensor:
        """[B, E] unit vectors, alike for pictures of one person."""
        means = [f.mean((2, 3)) for f in features[1:]]
        spreads = [f.std((2, 3)) for f in features[1:]]
        return functional.normalize(self.embedding(torch.cat([*means, *spreads], dim=1)), dim=1)


def place_entropy(maps: Tensor, xy: Tensor) -> Tensor:
    """Cross-entropy [B, J] of maps' logits [B, J, h, w] with a soft cell around places [B, J, 2].

    Places are shares of width and height in [0, 1].
    """
    rows, columns = maps.shape[-2:]
    across = torch.arange(columns, device=xy.device) + 0.5 - xy[..., :1] * columns
    down = torch.arange(rows, device=xy.device) + 0.5 - xy[..., 1:] * rows
    target = torch.exp(-0.5 * (down[..., :, None] ** 2 + across[..., None, :] ** 2)).flatten(2)
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-6)
    return -(target * maps.float().flatten(2).log_softmax(-1)).sum(-1)


def joint_loss(maps: Tensor, presence: Tensor, xy: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy of places, with a soft cell around each joint, and of being seen: [B].

    Args:
        maps: [B, 18, h, w] and seen [B, 18], logits.
        xy: [B, 18, 2] in [0, 1]; visible: [B, 18] bool.
    """
    entropy = place_entropy(maps, xy)
    of_presence = functional.binary_cross_entropy_with_logits(
        presence.float(), visible.float(), reduction="none"
    )
    of_places = (entropy * visible).sum(1) / visible.sum(1).clamp_min(1)
    return of_places + of_presence.mean(1)


def texture_energy(pictures: Tensor) -> Tensor:
    """Mean squared Laplacian of the luma in windows: [B, 3, H, W] -> [B, 1, h, w]."""
    grey = (pictures * pictures.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    kernel = pictures.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    edges = functional.conv2d(grey, kernel[None, None])
    return functional.avg_pool2d(edges.square(), WINDOW, WINDOW // 2)


def spread(features: Tensor) -> Tensor:
    """The variance of features in windows of 4 by 4: how much goes on there, wherever it lies."""
    features = features.float()
    means, squares = (functional.avg_pool2d(x, 4, 2) for x in (features, features.square()))
    return (squares - means.square()).clamp_min(0)


class PerceptualLoss(nn.Module):
    """A frozen network's distance of pictures, and what it reads from them."""

    def __init__(self, network: PerceptionNetwork, run: PerceptionRun) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.run = run

    def forward(
        self, pictures: Tensor, truths: Tensor, xy: Tensor, visible: Tensor, weight: Tensor
    ) -> Tensor:
        """[B], for pictures and truths [B, 3, H, W] in [-1, 1].

        Args:
            xy: [B, 18, 2] in [0, 1] and visible [B, 18], the pose of the truth.
            weight: [B, 1, h, w], what each place of a picture counts.
        """
        run = self.run
        with torch.no_grad():
            aims = self.network.features(truths)
        features = self.network.features(pictures)
        loss = run.features * sum(
            weighted_mean(_distance(a, b), weight) for a, b in zip(features, aims, strict=True)
        )
        if run.joints:
            loss = loss + run.joints * joint_loss(*self.network.joints(features), xy, visible)
        if run.texture:
            ours, aim = (torch.log(texture_energy(p) + TEXTURE_FLOOR) for p in (pictures, truths))
            terms = [weighted_mean((ours - aim).square(), weight)]
            for a, b in zip(features[:3], aims[:3], strict=True):
                spreads = [torch.log(spread(x) + SPREAD_FLOOR) for x in (a, b)]
                away = (spreads[0] - spreads[1]).square().mean(1, keepdim=True)
                terms.append(weighted_mean(away, weight))
            loss = loss + run.texture * sum(terms)
        assert isinstance(loss, Tensor)
        return loss


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of unit vectors, [B, 1, h, w]."""
    a, b = (x.float() / (x.float().square().sum(1, keepdim=True) + 1e-4).sqrt() for x in (a, b))
    return (a - b).square().sum(1, keepdim=True)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """[B, 1, h, w] -> [B], by a weight of another resolution."""
    fitted = functional.interpolate(weight, values.shape[-2:], mode="area")
    return (values * fitted).sum((1, 2, 3)) / fitted.sum((1, 2, 3)).clamp_min(1e-6)


Pose = tuple[Tensor, Tensor]  # [B, 18, 2] in [0, 1] and [B, 18] bool


def varied(
    pictures: Tensor, pose: Pose, mirrored_pose: Pose, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch with some of it mirrored, blurred and noisy: pictures, joints, which are seen.

    The generator is one of the CPU; what it draws follows the pictures to their device.
    """
    batch, device = len(pictures), pictures.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    mirrored = draw(batch) < 0.5
    xy, visible = (
        torch.where(mirrored.view(-1, *[1] * (plain.ndim - 1)), other, plain)
        for plain, other in zip(pose, mirrored_pose, strict=True)
    )
    x = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
    soft = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.lerp(x, soft, (2 * draw(batch, 1, 1, 1) - 1).clamp(min=0))
    noise = torch.randn(x.shape, generator=generator).to(device)
    return x + 0.1 * draw(batch, 1, 1, 1).square() * noise, xy, visible


def train_perception(people: People, run: PerceptionRun, seed: int) -> PerceptionNetwork:
    """A network that finds joints and recognises people, from nothing, on the people's device.

    Each step sees two pictures of each of `run.batch_size / 2` people.
    """
    seed_part(seed, "perception")
    device = people.pictures.device
    generator = torch.Generator("cpu").manual_seed(seed)
    network = PerceptionNetwork().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=run.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, run.learning_rate, total_steps=run.steps
    )
    order = torch.argsort(people.identities.cpu(), stable=True)
    _, counts = torch.unique_consecutive(people.identities.cpu()[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    mirror = Keypoints(people.xy, people.visible).mirrored()
    half = max(run.batch_size // 2, 1)
    for step in range(run.steps):
        persons = torch.randint(len(counts), (half,), generator=generator)
        draws = [torch.rand(half, generator=generator) for _ in range(2)]
        places = [(starts[persons] + (d * counts[persons]).long()) for d in draws]
        rows = order[torch.cat(places)].to(device)
        pictures = from_planes(people.pictures[rows]).contiguous()
        pose, other = ((p.xy[rows], p.visible[rows]) for p in (people, mirror))
        x, xy, visible = varied(pictures, pose, other, generator)
        features = network.features(x)
        maps, presence = network.joints(features)
        one, two = network.person(features).chunk(2)
        likeness = one @ two.T / 0.1
        same = torch.arange(half, device=device)
        who = functional.cross_entropy(likeness, same) + functional.cross_entropy(likeness.T, same)
        joints = joint_loss(maps, presence, xy, visible).mean()
        loss = joints + 0.5 * who
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step + 1 == run.steps:
            logger.info(
                "perception: step %d of %d: joints %.3f, person %.3f",
                step, run.steps, joints.item(), who.item() / 2,
            )  # fmt: skip
    return network.eval().requires_grad_(False)


def save_perception(network: PerceptionNetwork, path: Path) -> None:
    """Write a trained network, whole or not at all."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_state_dict(state, path, {"format": "pt", "stage": "perception"})


def load_perception(path: Path) -> PerceptionNetwork:
    """Read what `save_perception` wrote.

    Raises:
        CheckpointError: it is no such file.
    """
    network = PerceptionNetwork()
    try:
        network.load_state_dict(read_state_dict(path).tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its tensors are not those of this version's perception network. Delete the "
            f"file; the run makes another one."
        ) from error
    return network.eval().requires_grad_(False)
