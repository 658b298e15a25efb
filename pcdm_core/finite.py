"""A result that is no number is an error, and never a black picture in a file."""

from __future__ import annotations

from torch import Tensor


def check_finite(values: Tensor, what: str) -> Tensor:
    """`values` [B, ...] as they are, if all of them are finite.

    Args:
        what: they are, for the message: the stage and its result, in the singular.

    Raises:
        FloatingPointError: NaN or infinity is among them; says in which rows, and what causes it.
    """
    finite = values.isfinite()
    if bool(finite.all()):
        return values
    rows = [str(row + 1) for row, good in enumerate(finite.flatten(1).all(1).tolist()) if not good]
    first = ", ".join(rows[:8]) + (", ..." if len(rows) > 8 else "")
    which = f" (number {first} of {len(values)})" if len(values) > 1 else ""
    raise FloatingPointError(
        f"{what}{which} came out as NaN or infinity, which is no picture. The usual causes are "
        f"half precision (use float32), a damaged weights file, and a LoRA or another patch of "
        f"the model."
    )
