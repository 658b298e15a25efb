"""Rendered people in memory, on the training device.

Thirty-two thousand 192x128 pictures with everything a stage looks at take 6.5 GB as 8-bit tensors:
they are read once and indexed on the device, so that no worker process stands between steps.
Folder layout: see `training/synthetic`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from pcdm_core.config import Preset
from pcdm_core.images import (
    encoder_pixels,
    fit,
    from_planes,
    from_uint8,
    load_picture,
    resize,
    to_uint8,
)
from pcdm_core.pose.keypoints import FACE, Joint, Keypoints
from pcdm_core.pose.render import draw_people, people_of

from ..synthetic.dataset import check_generator
from ..synthetic.shots import read_shots
from . import PictureSet
from .pairs import numbered


def _normalised(pictures: Tensor) -> Tensor:
    """Squashed 8-bit pictures -> encoder input; no resizing is left to do."""
    return encoder_pixels(from_planes(pictures), pictures.shape[-1])


@dataclass(frozen=True)
class People:
    """One row a picture."""

    pictures: Tensor  # uint8 [N, 3, H, W]
    masks: Tensor  # uint8 [N, H, W], 0 or 255
    skeletons: Tensor  # uint8 [N, 3, H, W]
    patch_pictures: Tensor  # uint8 [N, 3, S, S], squashed to the patch encoder's size
    global_pictures: Tensor  # uint8 [N, 3, G, G], squashed to the global encoder's size
    xy: Tensor  # fp32 [N, 18, 2] in [0, 1]
    visible: Tensor  # bool [N, 18]
    pose_vectors: Tensor  # fp32 [N, 1, 36], the prior's tokens
    identities: Tensor  # int64 [N]
    embeds: Tensor  # fp32 [N, E], zero columns until `with_embeds`

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device | str) -> People:
        """All rows on another device."""
        return People(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def patch_pixels(self, rows: Tensor | slice) -> Tensor:
        """Normalised patch-encoder input [B, 3, S, S] of some rows."""
        return _normalised(self.patch_pictures[rows])

    def global_pixels(self, rows: Tensor | slice) -> Tensor:
        """Normalised global-encoder input [B, 3, G, G] of some rows."""
        return _normalised(self.global_pictures[rows])

    def person_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """[B, 1, h, w] in [0, 1]: how much of each latent's area is the person."""
        masks = self.masks[rows][:, None].to(torch.float32) / 255.0
        return functional.interpolate(masks, (height, width), mode="area")

    def head_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """[B, 1, h, w] in [0, 1]: how much of each latent's area is the person's head."""
        heads = head_areas(self.xy[rows], height, width)
        return heads * self.person_shares(rows, height, width)

    def keypoints(self, rows: Tensor | Sequence[int]) -> Keypoints:
        """The poses of some rows."""
        return Keypoints(self.xy[rows], self.visible[rows])

    @torch.no_grad()
    def with_embeds(self, encoder: torch.nn.Module, batch: int = 512) -> People:
        """The same people with their global embeddings."""
        rows = range(0, len(self), batch)
        embeds = [encoder(self.global_pixels(slice(k, k + batch))) for k in rows]
        return replace(self, embeds=torch.cat(embeds))

    @staticmethod
    def joined(parts: Sequence[People]) -> People:
        """The rows of several."""
        names = [f.name for f in fields(People)]
        return People(**{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


@dataclass(frozen=True)
class CoarsePictures:
    """Stage 2's results: picture k shows pair (source row, target row) k."""

    pictures: Tensor  # uint8 [M, 3, H, W]
    pairs: Tensor  # int64 [M, 2] rows of People

    @property
    def rows(self) -> Tensor:
        """int64 [M, 3] on the CPU: stage 3's samples, see `numbered`."""
        return numbered(self.pairs.cpu())

    def to(self, device: torch.device | str) -> CoarsePictures:
        """The same on another device."""
        return CoarsePictures(self.pictures.to(device), self.pairs.to(device))


def head_areas(xy: Tensor, height: int, width: int) -> Tensor:
    """Discs around faces that reach to the neck, softened by one cell.

    Args:
        xy: [B, 18, 2] in [0, 1] of the picture; hidden joints count, so that the disc lies around
            heads seen from behind too.

    Returns:
        fp32 [B, 1, height, width] in [0, 1].
    """
    size = xy.new_tensor([width, height])
    middle, neck = xy[:, FACE].mean(1) * size, xy[:, Joint.NECK] * size
    radius = (neck - middle).norm(dim=-1)
    x = torch.arange(width, device=xy.device) + 0.5 - middle[:, :1]
    y = torch.arange(height, device=xy.device) + 0.5 - middle[:, 1:]
    distance = torch.hypot(x[:, None, :], y[:, :, None])
    return (radius[:, None, None] - distance + 0.5).clamp(0, 1)[:, None]


def identity_folders(root: Path, split: str) -> list[Path]:
    """The finished people of a split, in order of their numbers."""
    folder = Path(root) / split
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir() and p.name.isdigit())


def _planes(pixels: Tensor, pose: Keypoints, preset: Preset) -> dict[str, np.ndarray]:
    """What stages look at of a picture [1, 3, H, W] and its pose, uint8 [3, h, w]."""
    height, width = preset.height, preset.width
    skeleton = draw_people(people_of(pose), height, width, preset.inpainting.skeleton_reduction)
    planes = {"pictures": to_uint8(pixels)[0], "skeletons": skeleton}
    for name in ("patch", "global"):
        if (encoder := getattr(preset, f"{name}_encoder")) is not None:
            side = encoder.picture_size
            planes[f"{name}_pictures"] = to_uint8(resize(pixels, side, side))[0]
    return {name: picture.transpose(2, 0, 1) for name, picture in planes.items()}


def _stacked(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _read_identity(folder: Path, preset: Preset) -> dict[str, np.ndarray]:
    """Everything of one person; runs in a worker."""
    shots = read_shots(folder)
    height, width = shots[0].mask.shape
    if (height, width) != (preset.height, preset.width):
        raise ValueError(
            f"{folder}: pictures are {height}x{width}, the preset {preset.name!r} trains on "
            f"{preset.height}x{preset.width}. Render the people again at that size."
        )
    rows: list[dict[str, np.ndarray]] = []
    for shot in shots:
        xy, visible = (torch.from_numpy(column)[None] for column in (shot.xy, shot.detectable))
        pose = Keypoints.from_pixels(xy, visible, height, width)
        planes = _planes(from_uint8(shot.picture), pose, preset)
        rows.append({"masks": shot.mask * np.uint8(255), "visible": shot.detectable, **planes})
    result = _stacked(rows)
    pixels = np.stack([shot.xy for shot in shots])
    result["xy"] = (pixels / np.asarray([width, height])).astype(np.float32)
    result["identities"] = np.full(len(shots), int(folder.name), dtype=np.int64)
    return result


def _collect(parts: Iterable[dict[str, np.ndarray]], count: int, preset: Preset) -> People:
    """Parts with `count` rows in all; each is copied to its place, so nothing is held twice."""
    columns: dict[str, np.ndarray] = {}
    start = 0
    for part in parts:
        end = start + len(part["xy"])
        for name, rows in part.items():
            if name not in columns:
                columns[name] = np.empty((count, *rows.shape[1:]), rows.dtype)
            columns[name][start:end] = rows
        start = end
    tensors = {name: torch.from_numpy(rows) for name, rows in columns.items()}
    missing = preset.prior.missing_joint if preset.prior else -1.0
    pose = Keypoints(tensors["xy"], tensors["visible"])
    width = preset.global_encoder.embedding_dim if preset.global_encoder else 0
    return People(
        **tensors,
        pose_vectors=pose.to_vector(missing),
        embeds=torch.zeros(len(tensors["xy"]), width),
    )


def load_people(
    root: Path,
    split: str,
    preset: Preset,
    *,
    workers: int = 1,
    skip: int = 0,
    limit: int | None = None,
) -> People:
    """Read rendered people.

    Args:
        root: the folder that `python -m training.synthetic` wrote.
        skip: leave out the first folders (those read before); `limit` ends after so many.

    Raises:
        FileNotFoundError: there is no finished person; the command that renders some is named.
        ValueError: the pictures have another size than the preset, or different versions of the
            generator drew them.
    """
    every = identity_folders(root, split)[:limit]
    check_generator(every)  # those read before as well
    folders = every[skip:]
    if not folders:
        raise FileNotFoundError(
            f"{Path(root) / split}: no rendered people. Make some with "
            f"`python -m training.synthetic --out {root} --split {split}`."
        )
    count = sum(1 for folder in folders for _ in folder.glob("*_mask.png"))
    work = folders, [preset] * len(folders)
    bar = partial(tqdm, total=len(folders), desc=f"reading {split} people", unit="person")
    if workers <= 1:
        return _collect(bar(map(_read_identity, *work)), count, preset)
    context = multiprocessing.get_context("spawn")
    # One thread a worker: on few cores, waiting threads cost more than they bring.
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        return _collect(bar(pool.map(_read_identity, *work, chunksize=4)), count, preset)


def people_of_pictures(pictures: PictureSet, preset: Preset) -> People:
    """A data set on disk as people in memory, for training without a cache.

    Raises:
        ValueError: a picture cannot be decoded; `ContentIndex` leaves such pictures out.
    """
    height, width, mode = preset.height, preset.width, preset.fit
    poses = pictures.fitted_poses(height, width, mode)
    part = _stacked(
        [
            _planes(fit(load_picture(path), height, width, mode)[0], poses.select(row), preset)
            for row, path in enumerate(pictures.paths)
        ]
    )
    count = len(pictures)
    part["masks"] = np.zeros((count, height, width), np.uint8)
    part["identities"] = np.arange(count)
    part["xy"] = poses.xy.to(torch.float32).numpy()
    part["visible"] = poses.visible.numpy()
    return _collect([part], count, preset)
