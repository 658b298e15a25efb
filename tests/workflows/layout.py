"""Where the nodes of a graph stand: columns in titled groups, from left to right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

COLOUR = "#3f789e"  # titles can be read with light and with dark palettes
HEAD, MARGIN, GAP = 80, 15, 20  # of groups: room for the title, around nodes, between groups


def placed_in(
    columns: Mapping[str, list[Any]], height: Callable[[Any], int], top: int = 0
) -> tuple[list[tuple[Any, tuple[int, int]]], list[dict[str, Any]]]:
    """Where the nodes stand, and the groups around them; `top` is where the first begins."""
    placed: list[tuple[Any, tuple[int, int]]] = []
    groups: list[dict[str, Any]] = []
    x = 0
    for title, column in columns.items():
        start = y = 0 if groups else top
        width = max(node.size[0] for node in column)
        for node in column:
            placed.append((node, (x, y)))
            y += height(node) + 45
        box = [x - MARGIN, start - HEAD, width + 2 * MARGIN, y - start + HEAD - 45 + MARGIN]
        group = {"id": len(groups) + 1, "title": title, "bounding": box, "color": COLOUR}
        groups.append({**group, "font_size": 24, "flags": {}})
        x += width + 2 * MARGIN + GAP
    return placed, groups
