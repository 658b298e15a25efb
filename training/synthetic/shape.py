"""Names and weights of the shape targets of the hm08 body.

A body is the base mesh plus a weighted sum of *macro targets* (build, age, origin, height) plus a
few local *detail targets* (nose, chin, head form, ...). The rule for the macro weights is that of
MakeHuman and MPFB2: each attribute is a piecewise-linear hat, a target's weight is the product of
the hats in its name. Both the asset builder and the generator read it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

GENDERS = ("female", "male")
AGES = ("young", "old")
LEVELS = ("min", "average", "max")
ORIGINS = ("african", "asian", "caucasian")

#: Local targets, one per line as (folder, name of the low end, name of the high end); a leading
#: "*-" stands for the left and the right side together.
DETAILS: tuple[tuple[str, str, str], ...] = (
    ("nose", "nose-scale-horiz-decr", "nose-scale-horiz-incr"),
    ("nose", "nose-scale-vert-decr", "nose-scale-vert-incr"),
    ("nose", "nose-scale-depth-decr", "nose-scale-depth-incr"),
    ("nose", "nose-hump-decr", "nose-hump-incr"),
    ("nose", "nose-point-down", "nose-point-up"),
    ("nose", "nose-width1-decr", "nose-width1-incr"),
    ("mouth", "mouth-scale-horiz-decr", "mouth-scale-horiz-incr"),
    ("mouth", "mouth-upperlip-volume-decr", "mouth-upperlip-volume-incr"),
    ("mouth", "mouth-lowerlip-volume-decr", "mouth-lowerlip-volume-incr"),
    ("mouth", "mouth-angles-down", "mouth-angles-up"),
    ("mouth", "mouth-trans-down", "mouth-trans-up"),
    ("eyes", "*-eye-scale-decr", "*-eye-scale-incr"),
    ("eyes", "*-eye-corner2-down", "*-eye-corner2-up"),
    ("eyes", "*-eye-height2-decr", "*-eye-height2-incr"),
    ("eyes", "*-eye-trans-in", "*-eye-trans-out"),
    ("chin", "chin-width-decr", "chin-width-incr"),
    ("chin", "chin-height-decr", "chin-height-incr"),
    ("chin", "chin-prominent-decr", "chin-prominent-incr"),
    ("cheek", "*-cheek-bones-decr", "*-cheek-bones-incr"),
    ("cheek", "*-cheek-volume-decr", "*-cheek-volume-incr"),
    ("head", "head-scale-horiz-decr", "head-scale-horiz-incr"),
    ("head", "head-scale-vert-decr", "head-scale-vert-incr"),
    ("head", "head-fat-decr", "head-fat-incr"),
    ("head", "", "head-oval"),
    ("head", "", "head-square"),
    ("head", "", "head-round"),
    ("head", "", "head-triangular"),
    ("stomach", "stomach-tone-incr", "stomach-tone-decr"),
    ("hip", "hip-scale-horiz-decr", "hip-scale-horiz-incr"),
    ("torso", "torso-scale-horiz-decr", "torso-scale-horiz-incr"),
)


@dataclass(frozen=True)
class Macro:
    """The attributes of a body, each in [0, 1].

    Args:
        gender: 0 female, 1 male.
        age: 0 young adult, 1 old.
        muscle, weight, height, proportions, cup: 0 least, .5 average, 1 most.
        origin: three non-negative weights in the order of ``ORIGINS`` that sum to 1.
    """

    gender: float = 0.5
    age: float = 0.2
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    cup: float = 0.5
    origin: tuple[float, float, float] = (0.34, 0.33, 0.33)


def _hats(value: float) -> dict[str, float]:
    return {
        "min": max(0.0, 1.0 - 2.0 * value),
        "average": 1.0 - abs(2.0 * value - 1.0),
        "max": max(0.0, 2.0 * value - 1.0),
    }


def macro_target_names() -> list[str]:
    """Paths, relative to the folder of targets and without ending, in the order of the asset."""
    names = [f"macrodetails/{o}-{g}-{a}" for o, g, a in product(ORIGINS, GENDERS, AGES)]
    for g, a, m, w in product(GENDERS, AGES, LEVELS, LEVELS):
        build = f"{g}-{a}-{m}muscle-{w}weight"
        names.append(f"macrodetails/universal-{build}")
        names += [f"macrodetails/height/{build}-{h}height" for h in ("min", "max")]
        names += [f"macrodetails/proportions/{build}-{p}proportions" for p in ("uncommon", "ideal")]
        if g == "female":
            names += [f"breast/{build}-{c}cup-averagefirmness" for c in ("min", "max")]
    return names


def macro_weights(macro: Macro) -> list[float]:
    """The weight of each target of :func:`macro_target_names`."""
    gender = {"female": 1.0 - macro.gender, "male": macro.gender}
    age = {"young": 1.0 - macro.age, "old": macro.age}
    muscle, weight = _hats(macro.muscle), _hats(macro.weight)
    height, proportions, cup = _hats(macro.height), _hats(macro.proportions), _hats(macro.cup)
    origin = dict(zip(ORIGINS, macro.origin, strict=True))
    weights = [origin[o] * gender[g] * age[a] for o, g, a in product(ORIGINS, GENDERS, AGES)]
    for g, a, m, w in product(GENDERS, AGES, LEVELS, LEVELS):
        build = gender[g] * age[a] * muscle[m] * weight[w]
        weights.append(build)
        weights += [build * height["min"], build * height["max"]]
        weights += [build * proportions["min"], build * proportions["max"]]
        if g == "female":
            weights += [build * cup["min"], build * cup["max"]]
    return weights
