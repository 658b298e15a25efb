"""What a node takes and gives: sockets, widgets with their choices, and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A value of a drop-down by its place, where the text says what may change."""

    place: int


@dataclass(frozen=True)
class Widget:
    """A setting: its kind, what it begins with, the choices of a drop-down, if it folds away."""

    kind: str
    default: Any
    choices: tuple[Any, ...] = ()
    advanced: bool = False

    def value(self, setting: Any) -> Any:
        """What a table sets; the default where it says nothing or makes a connection."""
        if isinstance(setting, Choice):
            return self.choices[setting.place]
        return self.default if setting is None or isinstance(setting, tuple) else setting


@dataclass(frozen=True)
class Shape:
    """What a node takes and gives: kinds of the sockets, defaults of the widgets, and outputs."""

    sockets: Mapping[str, str]
    widgets: Mapping[str, Widget]
    outputs: Mapping[str, str]

    @property
    def inputs(self) -> dict[str, str]:
        """All inputs in the order of their slots, and their kinds."""
        return {**self.sockets, **{name: widget.kind for name, widget in self.widgets.items()}}
