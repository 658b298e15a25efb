"""What every format is read into, and what is said about the reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar

from ..keypoints import Keypoints
from .limits import PointError, PoseError, brief

F = TypeVar("F", bound="_Named")


class _Named(Protocol):
    @property
    def name(self) -> str | None: ...


Units = Literal["auto", "pixels", "fractions", "signed"]
"""What coordinates mean: detected, pixels, 0 to 1, -1 to 1 (OpenPose's `--keypoint_scale 4`)."""


@dataclass(frozen=True)
class Report:
    """What a reader recognised in a pose, and what it had to guess, in plain sentences."""

    recognised: tuple[str, ...]
    guessed: tuple[str, ...]

    def __str__(self) -> str:
        """A line a fact; guesses say so."""
        return "\n".join([*self.recognised, *(f"Guessed: {line}" for line in self.guessed)])


@dataclass
class Findings:
    """A report while it is being collected."""

    recognised: list[str] = field(default_factory=list[str])
    guessed: list[str] = field(default_factory=list[str])

    def fact(self, fact: str) -> None:
        """Something that the pose says itself; said once."""
        if fact not in self.recognised:
            self.recognised.append(fact)

    def guess(self, fact: str) -> None:
        """Something that the pose leaves open."""
        if fact not in self.guessed:
            self.guessed.append(fact)

    def format(self, name: str) -> None:
        """Whose file it is; what is recognised first says it."""
        if not any(line.startswith("Format: ") for line in self.recognised):
            self.fact(f"Format: {name}.")

    def report(self) -> Report:
        """What was collected so far."""
        return Report(tuple(self.recognised), tuple(self.guessed))


@dataclass(frozen=True)
class Frame:
    """The people of one picture, in the file's order.

    Attributes:
        people: one row a person; a person may have no visible joint.
        size: (height, width) of the picture where it is known.
        name: of the picture where the file says it.
        fault: why nobody is in it; None where there are people.
        faults: of the people who cannot be read, by their row.
    """

    people: Keypoints
    size: tuple[int, int] | None
    name: str | None = None
    fault: PoseError | None = None
    faults: Mapping[int, PoseError] = field(default_factory=dict[int, PoseError])


@dataclass(frozen=True)
class Context:
    """What a reader must know besides the data; see `read_pose`.

    Attributes:
        origin: the file, and where in it; begins error messages.
        assumed: (height, width) of the picture that pixels are taken for where nobody says the
            size; what cannot be pixels of it is refused.
        only: the number or the name of the one frame to read; None reads all.
        joint_names: of the points, where the file says them.
        findings: get what is said about the reading.
    """

    origin: str
    size: tuple[int, int] | None = None
    assumed: tuple[int, int] | None = None
    units: Units = "auto"
    threshold: float | None = None
    only: int | str | None = None
    joint_names: tuple[str, ...] = ()
    findings: Findings = field(default_factory=Findings)

    def at(self, part: str) -> Context:
        """The same for a part of the file."""
        return replace(self, origin=f"{self.origin}, {part}")

    def error(self, message: str) -> PoseError:
        """To be raised: a pose that cannot be used."""
        return PoseError(f"{self.origin}: {message}")

    def point_error(self, message: str) -> PointError:
        """To be raised: a point that cannot be used."""
        return PointError(f"{self.origin}: {message}")

    def select(self, frames: list[F]) -> list[F]:
        """All frames, or the only one.

        Raises:
            PoseError: there is no such frame.
        """
        if self.only is None:
            return frames
        for number, frame in enumerate(frames):
            if self.only in (number, frame.name):
                return [frame]
        raise self.error(f"frame {brief(self.only)} was asked for, but there are {len(frames)}")
