"""Damaged poses of every dialect: a clear error or a correct reading, and never NaN.

The mutants are made of valid documents with fixed seeds; no two are equal. What is still read must
keep every joint that the damage did not touch.
"""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pcdm_core.pose.formats import PointError, PoseError, read_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.render import render_pose
from tests.bounds import bounded
from tests.core.pose_dialects import DIALECTS, HEIGHT, WIDTH, source_of

MUTANTS = 100, 520  # of each dialect, without and with --full
SIZE = (HEIGHT, WIDTH)
WEIRD: tuple[Any, ...] = (
    math.nan, math.inf, -math.inf, 1e308, -1e30, 10**400, 1e6, -5e5, "12", "", "nan", True, None,
    [], {}, [1.0], {"x": 1}, -1, 0, 65535,
)  # fmt: skip

Path = tuple[Any, ...]


def places(node: Any, path: Path = ()) -> list[Path]:
    """Where every value of a document is."""
    paths = [path] if path else []
    for key, child in children(node):
        paths += places(child, (*path, key))
    return paths


def children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, dict):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, list) else []


def is_a_number(value: Any) -> bool:
    """Or the text of one."""
    return type(value) is float or (isinstance(value, str) and value.replace(".", "", 1).isdigit())


def walk(document: Any, rng: random.Random) -> Path:
    """A way from the document down to any leaf."""
    path: Path = ()
    while branches := children(at(document, path)):
        path = (*path, rng.choice(branches)[0])
    return path


def walk_to_a_number(document: Any, rng: random.Random) -> Path:
    """The same, preferring leaves that are numbers."""
    for _ in range(8):
        path = walk(document, rng)
        if is_a_number(at(document, path)):
            break
    return path


def at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def put(document: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    at(document, path[:-1])[path[-1]] = value
    return document


def drop(document: Any, path: Path, rng: random.Random) -> Any:
    del at(document, path[:-1])[path[-1]]
    return document


def retype(document: Any, path: Path, rng: random.Random) -> Any:
    return put(document, path, copy.deepcopy(rng.choice(WEIRD)))


def nest(document: Any, path: Path, rng: random.Random) -> Any:
    value = at(document, path)
    for _ in range(rng.choice((1, 1, 2, 9))):
        value = rng.choice(([value], [value, value], {"value": value}))
    return put(document, path, value)


def damage_a_number(document: Any, path: Path, rng: random.Random) -> Any:
    value = float(at(document, path))
    changed = rng.choice((-value, value * 1000, value / 7, math.nan, value + 1e9, value // 1))
    return put(document, path, changed)


def shuffle(document: Any, path: Path, rng: random.Random) -> Any:
    value = at(document, path)
    if isinstance(value, list):
        rng.shuffle(value)
    return document


def swap_axes(document: Any, path: Path, rng: random.Random) -> Any:
    value = at(document, path)
    if isinstance(value, list) and value and isinstance(value[0], float):
        step = 3 if len(value) % 3 == 0 else 2
        for start in range(0, len(value) - 1, step):
            value[start], value[start + 1] = value[start + 1], value[start]
    return document


def repeat(document: Any, path: Path, rng: random.Random) -> Any:
    value = at(document, path)
    return put(document, path, value * rng.choice((0, 2, 3)) if isinstance(value, list) else value)


def mutate_document(valid: str, rng: random.Random) -> Any:
    """One to three kinds of damage, most of them to single numbers."""
    document = json.loads(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = walk_to_a_number(document, rng)
        if not path:
            break
        if is_a_number(at(document, path)) and rng.random() < 0.6:
            mutation = rng.choice((damage_a_number, damage_a_number, retype))
        else:
            mutation = rng.choice((drop, retype, nest, shuffle, swap_axes, repeat))
            path = path[: rng.randrange(1, len(path) + 1)]
        document = mutation(document, path, rng)
    if rng.random() < 0.06:
        text = json.dumps(document)
        return text[: rng.randrange(1, len(text))]
    return document


def mutate_text(valid: str, rng: random.Random) -> str:
    """Damage to words and lines."""
    text = valid
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.random()
        words = [
            word for word in text.replace("[", " ").replace("]", " ").replace(",", " ").split()
        ]
        if not words:
            break
        if kind < 0.6:
            word = rng.choice([w for w in words if w[-1].isdigit()] or words)
            new = rng.choice(
                ("nan", "1e9", "1e300", "-1", "0", "7", "0.5", "x", "", "inf", "null", word[::-1])
            )
            place = rng.randrange(text.count(word))
            parts = text.split(word)
            text = word.join(parts[: place + 1]) + new + word.join(parts[place + 1 :])
        elif kind < 0.7:
            text = text[: rng.randrange(len(text))]
        elif kind < 0.85:
            lines = text.splitlines()
            rng.choice((lines.pop, lines.sort, lines.reverse))()
            text = "\n".join(lines)
        elif kind < 0.95:
            lines = text.splitlines()
            swapped = [" ".join(line.split()[::-1]) for line in lines]
            text = "\n".join(swapped)
        else:
            place = rng.randrange(len(text))
            text = text[:place] + rng.choice(("\x00", "\n", "[", ":", "é", "-", " ")) + text[place:]
    return text


def mutants_of(name: str, count: int) -> Iterator[Any]:
    """`count` damaged forms of a dialect, none of them the valid one or another's equal."""
    valid = source_of(DIALECTS[name])
    text = json.dumps(valid)
    rng = random.Random(name)
    forms = {repr(valid if isinstance(valid, str) else json.loads(text))}
    while len(forms) <= count:
        mutate = mutate_text if isinstance(valid, str) else mutate_document
        mutant = mutate(valid if isinstance(valid, str) else text, rng)
        if repr(mutant) not in forms:
            forms.add(repr(mutant))
            yield mutant


def assert_is_sound(keypoints: Keypoints) -> None:
    """Finite, within reach, and harmless for what comes after."""
    assert keypoints.xy.isfinite().all()
    assert keypoints.xy[keypoints.visible].abs().max() <= 16
    assert keypoints.visible.any(dim=1).all()
    assert keypoints.to_vector().isfinite().all()
    if keypoints.hands_xy is not None:
        assert keypoints.hands_xy.isfinite().all()


def attempt(source: Any) -> tuple[Keypoints | None, Exception | None]:
    """What is read, or why nothing is; any other exception is the test's."""
    with bounded():
        try:
            return read_pose(source, size=SIZE), None
        except (PoseError, FileNotFoundError) as error:
            return None, error


@pytest.mark.slow
@pytest.mark.parametrize("name", DIALECTS)
def test_a_damaged_pose_is_refused_in_words_or_read_without_nan(
    name: str, cases: Callable[[int, int], int]
) -> None:
    reached = successes = 0
    count = cases(*MUTANTS)
    for number, mutant in enumerate(mutants_of(name, count)):
        keypoints, error = attempt(mutant)
        if keypoints is None:
            reached += isinstance(error, PointError)
            assert len(str(error)) > 20
            continue
        successes += 1
        assert_is_sound(keypoints)
        if number % 100 == 0:
            assert render_pose(keypoints, 32, 32).isfinite().all()
    # A third at least must get as far as single points, or the test would test the JSON reader.
    assert reached + successes >= count / 3, (reached, successes)
    assert reached > 0
    assert successes < count


def test_there_are_twenty_thousand_damaged_poses() -> None:
    assert MUTANTS[1] * len(DIALECTS) >= 20_000
    assert MUTANTS[0] >= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DIALECTS if not name.endswith(("csv", "txt"))])
def test_one_damaged_number_moves_or_removes_one_point_or_is_refused(name: str) -> None:
    dialect = DIALECTS[name]
    valid = source_of(dialect)
    expected = read_pose(valid, size=SIZE)
    numbers = [path for path in places(valid) if is_a_number(at(valid, path))]
    rng = random.Random(7)
    successes = 0
    for path in rng.sample(numbers, min(len(numbers), 60)):
        for value in (None, 0.0, -1.0, 1e7, math.nan, 0.37, 210.0):
            document = put(copy.deepcopy(valid), path, value)
            keypoints, _ = attempt(document)
            if keypoints is None:
                continue
            successes += 1
            both = keypoints.visible & expected.visible
            moved = ((keypoints.xy - expected.xy).abs().amax(dim=-1) > 1e-9) & both
            changed = moved | (keypoints.visible != expected.visible)
            # A shoulder of COCO's makes the neck, too.
            assert int(changed.sum()) <= (2 if dialect.neck_is_made else 1), (path, value)
    assert successes > 60
