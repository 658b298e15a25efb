"""Random numbers as a pure function of (seed, stream, sample number).

Noise, timesteps and dropout of a sample must not depend on the batch it travels in, on the number
of processes, or on where a run was resumed. A stateless hash gives that on every device at the
cost of a few integer operations. What a library draws from the global generators, above all a new
network's weights, follows `seed_part`.
"""

from __future__ import annotations

import hashlib
import math

import torch
from accelerate.utils import set_seed
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def seed_part(seed: int, part: str) -> None:
    """Seed the global generators for one part of a run.

    Called before each part is built or drawn: a process that goes on in the middle of a run then
    draws what the process that was interrupted would have drawn there.
    """
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    set_seed(int.from_bytes(digest[:4], "little"))  # numpy takes 32 bits


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _keys(seed: int, stream: int, samples: Tensor) -> Tensor:
    # Filled there: a copy from the host would wait for all that the device has to do.
    start = torch.full((), seed, dtype=torch.int64, device=samples.device)
    key = _mix(start * _GOLDEN + stream)
    return _mix(key + (samples.to(torch.int64) + 1) * _GOLDEN)


def _bits(seed: int, stream: int, samples: Tensor, count: int) -> Tensor:
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=samples.device)
    return _mix(_keys(seed, stream, samples)[:, None] + counters * _GOLDEN)


def uniform(seed: int, stream: int, samples: Tensor, count: int) -> Tensor:
    """Sample numbers [B] int64 -> [B, count] fp32 in [0, 1)."""
    return _shift(_bits(seed, stream, samples, count), 40).to(torch.float32) * 2.0**-24


def normal(seed: int, stream: int, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sample numbers [B] int64 -> [B, *shape] fp32 standard normal (Box-Muller)."""
    count = math.prod(shape)
    half = (count + 1) // 2
    bits = _bits(seed, stream, samples, half)
    # Two 24-bit fractions of one 64-bit number; the first in (0, 1] so that its log is finite.
    first = (_shift(bits, 40).to(torch.float32) + 1.0) * 2.0**-24
    second = (_shift(bits, 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24
    radius = (-2.0 * first.log()).sqrt()
    angle = second * (2.0 * math.pi)
    numbers = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return numbers[:, :count].reshape(len(samples), *shape)


def step_normal(
    seed: int, stream: int, samples: Tensor, shape: tuple[int, ...], steps: int
) -> Tensor:
    """[steps - 1, B, *shape] standard normal, the noise of an ancestral sampler's steps."""
    noise = normal(seed, stream, samples, (max(steps - 1, 1), *shape))
    return noise.transpose(0, 1)[: steps - 1]
