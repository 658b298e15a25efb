"""PCDMs' own pose files: 18 lines of `x y`, normalised; a missing joint is -1 -1.

Source: `normalized_pose_txt` of the published repository, which ships no example and nowhere says
how a missing joint is written; -1 is the habit of its family of data sets.
"""

from __future__ import annotations

from .frame import Frame, PoseError, RawPoints, assemble


def frame_of_text(text: str, size: tuple[int, int] | None, where: str) -> Frame:
    """One person from 18 lines of x and y; pixels are understood where `size` is given.

    Raises:
        PoseError: not 18 lines, not two numbers in each, or no finite numbers.
    """
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    if len(lines) != 18:
        raise PoseError(
            f"{where}: {len(lines)} lines; expected 18, one x y for each OpenPose joint, or "
            "OpenPose JSON"
        )
    triples: list[tuple[object, object, object]] = []
    for number, words in enumerate(lines):
        try:
            x, y = (float(word) for word in words)
        except ValueError as error:
            found = " ".join(words)[:40]
            raise PoseError(
                f"{where}: joint {number} is {found!r}; expected two numbers, x y"
            ) from error
        triples.append((x, y, 1.0))
    body, none = RawPoints.parse(triples, where), RawPoints.missing(21)
    return Frame(assemble([body], [(none, none)], size, where), size)
