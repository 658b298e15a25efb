"""Pairs of pictures of held-out people.

Everything here is numpy and Pillow, so that worker processes start without torch.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..synthetic import identity_seed, make_identity, render_view
from ..synthetic.shots import Shot, read_shots

# People of the test split are numbered; those below are shipped as examples and looked at by hand.
FIRST_PERSON = 1_000
PEOPLE = 1_000_000
VIEWS = 8
TRUNK = (2, 5, 11, 8)  # shoulders and hips, around
DATA_SEED = 0  # of the generator of people, as in `python -m training.synthetic`


@dataclass(frozen=True)
class PairName:
    """Which picture of a person is turned into which."""

    number: int
    identity: int
    source: int
    target: int


@dataclass(frozen=True)
class HeldOutSet:
    """Which pairs are measured, and how many pictures are sampled at once.

    `data` is a folder of rendered people; None renders new ones. `dtype` is that of the networks,
    which a record of the pictures names.
    """

    seed: int
    pairs: int
    data: Path | None = None
    split: str = "test"
    batch: int = 8
    dtype: str = "float32"

    @classmethod
    def of(cls, options: argparse.Namespace) -> HeldOutSet:
        """What a command line says (`add_options` and the sampling options)."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})

    def names(self) -> list[PairName]:
        """The pairs; see `choose_pairs`."""
        return choose_pairs(self.seed, self.pairs, self.data, self.split)


def choose_pairs(seed: int, count: int, data: Path | None, split: str) -> list[PairName]:
    """`count` pairs: one a person where there are people enough, as many rounds as it takes else.

    The first pairs of a longer list are those of a shorter one.

    Args:
        data: a folder of rendered people to choose from; None chooses among a million to render.

    Raises:
        FileNotFoundError: the folder has no people.
        ValueError: its people have only one view.
    """
    generator = np.random.default_rng([seed, 42])
    if data is None:
        people = FIRST_PERSON + generator.choice(PEOPLE - FIRST_PERSON, 20_000, replace=False)
    else:
        folders = sorted(p for p in (data / split).glob("[0-9]*") if p.is_dir())
        if not folders:
            raise FileNotFoundError(no_people(data, split))
        people = generator.permutation([int(folder.name) for folder in folders])
    pairs: list[PairName] = []
    for number in range(count):
        identity = int(people[number % len(people)])
        views = VIEWS if data is None else _count_views(data, split, identity)
        draws = np.random.default_rng([seed, 43, number]).permutation(views)
        pairs.append(PairName(number, identity, int(draws[0]), int(draws[1])))
    return pairs


def no_people(data: Path, split: str) -> str:
    """What to do about a folder without people."""
    return (
        f"{data / split}: no rendered people. Make some with "
        f"`python -m training.synthetic --out {data} --split {split}`."
    )


def _count_views(data: Path, split: str, identity: int) -> int:
    record = json.loads((data / split / f"{identity:06d}" / "identity.json").read_text("utf-8"))
    views = len(record["views"])
    if views < 2:
        raise ValueError(f"{data / split}: a pair needs two views of a person; render --views 2.")
    return views


def shots_of(
    pair: PairName, data: Path | None, split: str, size: tuple[int, int]
) -> tuple[Shot, Shot]:
    """Source and target, rendered or read.

    Raises:
        ValueError: the pictures on disk have another size.
    """
    if data is None:
        person = make_identity(identity_seed(DATA_SEED, split, pair.identity))
        views = [render_view(person, number, *size) for number in (pair.source, pair.target)]
        source, target = (
            Shot.of(pair.identity, number, view.picture, view.mask, view.xy, view.visible)
            for number, view in zip((pair.source, pair.target), views, strict=True)
        )
    else:
        folder = data / split / f"{pair.identity:06d}"
        source, target = read_shots(folder, (pair.source, pair.target))
        if source.mask.shape != size:
            height, width = source.mask.shape
            raise ValueError(
                f"{folder}: pictures are {height}x{width}, the weights work at "
                f"{size[0]}x{size[1]}. Render the people at that size."
            )
    return source, target


def clothed_regions(shot: Shot) -> list[np.ndarray]:
    """Trunk and both thighs, as far as their joints lie in the frame: bool [H, W] each."""
    regions = (body_region(shot, joints) for joints in (TRUNK, (8, 9), (11, 12)))
    return [region for region in regions if region is not None]


def body_region(shot: Shot, joints: tuple[int, ...]) -> np.ndarray | None:
    """The person's pixels between joints, or along two of them: bool [H, W].

    None where a joint is outside of the frame, or no pixel is left.
    """
    if not shot.inside[list(joints)].all():
        return None
    height, width = shot.mask.shape
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    corners = [tuple(shot.xy[joint].tolist()) for joint in joints]
    if len(joints) == 2:
        pen.line(corners, fill=255, width=max(round(0.03 * height), 1))
    else:
        pen.polygon(corners, fill=255)
    region = (np.asarray(canvas) > 0) & shot.mask
    return region if region.any() else None
