"""The global encoder as a stage: what the renderer knows of a person is what it learns to see.

Linear heads read garments, colours, hair, build and view off the embedding, so that stage 2 can;
another one has to find a person's other view among those of the batch (Radford et al. 2021, arXiv
2103.00020, do so with pictures and captions). The heads are not kept.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.encoders import ConvImageEncoder

from ..config import StageRun
from ..data.in_memory import People
from ..data.labels import CLASSES, NUMBERS, Labels, read_labels
from ..features.protocol import OnlineFeatures
from .base import Batch, StageModule
from .closed_form import principal_axes

PERSON_DIM = 64
TEMPERATURE = 0.1


class GlobalEncoderStage(StageModule):
    """Labels of rendered people, and who is who, from pictures of two views of each person."""

    def __init__(
        self, model: ConvImageEncoder, people: People, folder: Path, run: StageRun, seed: int
    ) -> None:
        """`folder` is that of the people's split, with a folder a person."""
        super().__init__(run, seed, OnlineFeatures(people))
        self.model, self.folder = model, folder
        width = model.config.embedding_dim
        self.numbers = nn.Linear(width, len(NUMBERS))
        self.classes = nn.Linear(width, sum(map(len, CLASSES.values())))
        self.person = nn.Linear(width, PERSON_DIM)
        self.labels = labels_of(people, folder)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"global_encoder": self.model}

    def use_people(self, people: People) -> None:
        super().use_people(people)
        self.labels = labels_of(people, self.folder)

    @property
    def people(self) -> People:
        """The people in memory."""
        assert isinstance(self.features, OnlineFeatures)
        return self.features.people

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        rows = pairs[:, :2].T.flatten()
        return {
            "pixels": self.people.global_pixels(rows),
            "numbers": self.labels.numbers[rows],
            "classes": self.labels.classes[rows],
            "identities": self.people.identities[pairs[:, 0]],
        }

    def forward(self, batch: Batch) -> Tensor:
        embeds = self.model(batch["pixels"])
        loss = number_loss(self.numbers(embeds).float(), batch["numbers"])
        loss = loss + class_loss(self.classes(embeds).float(), batch["classes"])
        if not self.run.contrast:
            return loss
        persons = functional.normalize(self.person(embeds).float(), dim=1)
        return loss + self.run.contrast * person_loss(persons, batch["identities"])

    @torch.no_grad()
    def finish(self) -> None:
        """Centre, order and scale the embedding's numbers as the closed-form fit does."""
        if not self.run.steps:
            return
        count = min(self.run.fit_pictures, len(self.people))
        rows = torch.linspace(0, len(self.people) - 1, count).long()
        pixels = self.people.global_pixels(rows.to(self.people.pictures.device))
        normalise_encoder(self.model, pixels)


def labels_of(people: People, folder: Path) -> Labels:
    """The labels of people in memory, on their device; the numbers have mean 0 and variance 1."""
    persons = people.identities.unique_consecutive().tolist()
    labels = read_labels(folder / f"{number:06d}" for number in persons)
    if len(labels.numbers) != len(people):
        raise ValueError(
            f"{folder}: its records describe {len(labels.numbers)} pictures of {len(persons)} "
            f"people, and {len(people)} were read. Render these people again."
        )
    present = labels.numbers.isfinite()
    filled = labels.numbers.nan_to_num()
    count = present.sum(0).clamp(min=1)
    mean = filled.sum(0) / count
    spread = ((filled - mean).square() * present).sum(0) / count
    numbers = (labels.numbers - mean) / spread.sqrt().clamp(min=1e-3)
    return Labels(numbers, labels.classes).to(people.pictures.device)


def number_loss(answers: Tensor, numbers: Tensor) -> Tensor:
    """The share of the numbers' variance that is not explained, mean over those that are there."""
    present = numbers.isfinite()
    errors = (answers - numbers.nan_to_num()).square() * present
    return errors.sum() / present.sum().clamp(min=1)


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy [B, sum of classes] and [B, C] as a share of chance, mean over attributes."""
    parts = logits.split([len(names) for names in CLASSES.values()], dim=1)
    losses = [
        functional.cross_entropy(part, column, ignore_index=-1, reduction="sum")
        / (column >= 0).sum().clamp(min=1)
        / torch.tensor(part.shape[1]).log()
        for part, column in zip(parts, classes.T, strict=True)
    ]
    return torch.stack(losses).mean()


def person_loss(persons: Tensor, identities: Tensor) -> Tensor:
    """Who is who, as a share of chance: unit vectors [2 B, D], first then second views of B pairs.

    A person who is in the batch twice is no wrong answer to himself.
    """
    first, second = persons.chunk(2)
    likeness = first @ second.T / TEMPERATURE
    same = identities[:, None] == identities
    others = same.fill_diagonal_(False)
    likeness = likeness.masked_fill(others, -torch.inf)
    places = torch.arange(len(identities), device=identities.device)
    loss = functional.cross_entropy(likeness, places) + functional.cross_entropy(likeness.T, places)
    return loss / 2 / max(torch.tensor(len(identities)).log().item(), 1.0)


@torch.no_grad()
def normalise_encoder(
    encoder: ConvImageEncoder, pixels: Tensor, whiten: float = 0.5, batch: int = 256
) -> None:
    """Turn and scale an encoder's embeddings, by its last layer, as `fit_encoder` leaves them.

    Afterwards their numbers have zero mean, are uncorrelated, and fall in variance; each was
    divided by its deviation to the power `whiten`, then all by one scale that makes the mean
    variance one. A prior's error then counts what differs most between pictures most.

    Args:
        pixels: of pictures to measure on, [N, 3, S, S]; more than the embedding has numbers.
    """
    layer = encoder.projection
    embeds = torch.cat([encoder(part) for part in pixels.split(batch)]).cpu().double()
    if len(embeds) <= embeds.shape[1]:
        raise ValueError(
            f"An embedding of {embeds.shape[1]} numbers is measured on more pictures than that, "
            f"got {len(embeds)}. Raise fit_pictures, or render more people."
        )
    mean = embeds.mean(0)
    centred = embeds - mean
    variances, axes = principal_axes(centred.T @ centred / len(centred))
    gain = variances.pow(-whiten / 2)
    gain = gain / (variances * gain.square()).mean().sqrt()
    turn = (axes * gain).T
    weight, bias = layer.weight.cpu().double(), layer.bias.cpu().double()
    layer.weight.copy_(turn @ weight)
    layer.bias.copy_(turn @ (bias - mean))
