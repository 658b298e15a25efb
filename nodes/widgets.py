"""Values of widgets, checked where they are used.

ComfyUI leaves gaps: 0.3.64 checks no drop-down of nodes like these, no host checks an input that
`validate_inputs` names, and none checks what comes by a link. So a node checks its inputs against
its own schema when it runs, before a value means anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from comfy_api.latest import io

from ..pcdm_core.quoting import short
from ..pcdm_core.ranges import Range
from .settings import RANGES

_LISTED = 12  # options that an error names


def checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """For a node's `execute`: refuse values that its widgets could not have.

    Raises:
        ValueError: the input, what it is, and what it may be.
    """

    names = tuple(signature(execute).parameters)[1:]  # without the class

    @wraps(execute)
    def run(cls: type[io.ComfyNode], *ordered: Any, **values: Any) -> io.NodeOutput:
        values |= zip(names, ordered, strict=False)
        for item in cls.define_schema().inputs:
            if item.id in values:
                values[item.id] = check_widget(item, values[item.id])
        return execute(cls, **values)

    return run


def check_widget(item: io.Input, value: Any) -> Any:
    """The value, if the widget of an input could have it; sockets take anything.

    Raises:
        ValueError: it could not.
    """
    options = getattr(item, "options", None)
    if options is not None and not (isinstance(value, str) and value in options):
        more = f" and {len(options) - _LISTED} others" if len(options) > _LISTED else ""
        raise ValueError(
            f"{item.id} is {short(value)}, which is not in its list. Choose "
            f"{', '.join(map(str, options[:_LISTED]))}{more}; press R if the list is old."
        )
    if isinstance(item, io.String.Input) and not isinstance(value, str):
        raise ValueError(f"{item.id} is {short(value)}. Connect a text, or type one.")
    if isinstance(item, (io.Int.Input, io.Float.Input)):
        whole = isinstance(item, io.Int.Input)
        if whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        span = RANGES.get(item.id)
        if span is None or span.preset != item.min:
            span = Range(item.min, item.max, whole)
        span.check(item.id, value)
        return int(value) if whole else float(value)
    return value
