"""Fixture folders: manifests, tensors, weights made again by their stated rule, and results."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pcdm_core.checkpoints import build, load_model
from pcdm_core.checkpoints.files import SUFFIXES
from pcdm_core.checkpoints.signatures import SIGNATURES, Component, dinov2_published


class BadFolderError(Exception):
    """The folder is no fixture, or lacks something that its manifest promises."""


@dataclass(frozen=True)
class Entry:
    """One compared tensor (or picture, or file)."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Written so that an error that is not a number is out."""
        return self.error <= self.tolerance

    def line(self) -> str:
        """For the terminal."""
        mark = "ok" if self.ok else "OUT"
        return f"{self.name:<44} error {self.error:8.2g}   tolerance {self.tolerance:8.2g}   {mark}"


@dataclass
class Result:
    """What one fixture gave."""

    entries: list[Entry] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)


class Tensors(Mapping[str, Tensor]):
    """The tensors of a fixture; remembers which of them were asked for."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise BadFolderError(f"{path} does not exist.")
        self.path = path
        self._tensors = load_file(path)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise BadFolderError(f"{self.path} has no tensor {name!r}.")
        self.used.add(name)
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def unused(self) -> list[str]:
        """Names that nothing has read."""
        return sorted(set(self._tensors) - self.used)


@dataclass
class Fixture:
    """One folder with a manifest."""

    path: Path
    manifest: dict[str, Any]
    result: Result = field(default_factory=Result)
    _tensors: Tensors | None = None

    @classmethod
    def open(cls, path: Path) -> Fixture:
        """Read the manifest."""
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadFolderError(f"{path / 'manifest.json'} cannot be read: {error}.") from error
        if not isinstance(manifest, dict):
            raise BadFolderError(f"{path / 'manifest.json'} is no JSON object.")
        return cls(path, manifest)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def tensors(self) -> Tensors:
        """`tensors.safetensors`."""
        if self._tensors is None:
            self._tensors = Tensors(self.path / "tensors.safetensors")
        return self._tensors

    def stated(self, *keys: str) -> Any:
        """A value of the manifest, by its path in it."""
        value: Any = self.manifest
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise BadFolderError(f"{self.path / 'manifest.json'} states no {'.'.join(keys)}.")
            value = value[key]
        return value

    def tolerance(self, *names: str) -> float:
        """The first of these that the manifest states a tolerance for."""
        table = self.stated("tolerance")
        for name in names:
            if name in table:
                return float(re.findall(r"[\d.]+(?:e-?\d+)?", str(table[name]))[0])
        raise BadFolderError(f"{self.path / 'manifest.json'} states no tolerance for {names[0]}.")

    def compare(self, name: str, actual: Tensor, tolerance: float, absolute: bool = False) -> None:
        """Compare with the reference tensor of that name, in units of its deviation."""
        reference = self.tensors[name].double()
        if actual.shape != reference.shape:
            shapes = f"{list(actual.shape)} for {list(reference.shape)}"
            self.add(f"{name} {shapes}", math.inf, tolerance)
            return
        error = (actual.double() - reference).abs().max().item()
        spread = reference.std().item() if reference.numel() > 1 else 0.0
        # Constant references (masks of one value, zeros) have no deviation to measure by.
        scale = 1.0 if absolute or spread == 0.0 else spread
        self.add(name, error / scale, tolerance)

    def compare_equal(self, name: str, actual: Tensor) -> None:
        """Compare whole numbers: every difference counts."""
        reference = self.tensors[name]
        same = actual.shape == reference.shape and bool((actual == reference).all())
        self.add(name, 0.0 if same else math.inf, 0.0)

    def add(self, name: str, error: float, tolerance: float) -> None:
        """Note an error that was measured elsewhere."""
        self.result.entries.append(Entry(f"{self.name} {name}", error, tolerance))

    def skip(self, what: str) -> None:
        """Say that something was not compared."""
        self.result.not_compared.append(f"{self.name} {what}")


def find_fixtures(folder: Path) -> list[Path]:
    """The fixtures in a folder: with a manifest, or with weights files alone (broken ones)."""
    if not folder.is_dir():
        raise BadFolderError(f"{folder} is no folder.")
    if (folder / "manifest.json").is_file() or _only_weights(folder):
        return [folder]
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    fixtures = [fixture for sub in inside for fixture in find_fixtures(sub)]
    return fixtures


def _only_weights(folder: Path) -> bool:
    return any(p.suffix in SUFFIXES[1:] for p in folder.iterdir() if p.is_file())


# --- weights -------------------------------------------------------------------------------------


def draw_parameter(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A parameter by the rule of the manifests; `name` without its module prefix."""
    generator = torch.Generator().manual_seed((seed * 1000003) ^ zlib.crc32(name.encode()))
    r = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        value = 0.05 * r
    elif len(shape) == 1:
        value = 1 + 0.1 * r
    elif len(shape) == 3:
        value = 0.5 * r
    else:
        value = r / math.sqrt(r[0].numel())
    return value.half()


def drawn_state(
    model: nn.Module, component: Component, layout: str, seeds: Mapping[str, int]
) -> dict[str, Tensor]:
    """Weights by the rule under the names of a published layout.

    Args:
        model: on the meta device is enough.
        seeds: of each published top-level module, or of "" for a model without such prefixes.
    """
    signature = next(s for s in SIGNATURES if (s.component, s.layout) == (component, layout))
    state_dict = model.state_dict()
    if component == "patch_encoder":
        # Translating joins tensors, which the meta device does without their values.
        state_dict = dinov2_published(
            {k: torch.empty_like(v, device="meta") for k, v in state_dict.items()}
        )
        state_dict["model.embeddings.mask_token"] = torch.empty(
            1, model.config.hidden_size, device="meta"
        )
    state: dict[str, Tensor] = {}
    for key, tensor in state_dict.items():
        for theirs, ours in signature.renames:
            if key.startswith(ours):
                key = theirs + key.removeprefix(ours)
                break
        module, _, bare = key.partition(".")
        seed, name = (seeds[""], key) if "" in seeds else (seeds[module], bare)
        state[key] = draw_parameter(name, tuple(tensor.shape), seed)
        if key == "pose_proj.conv_out.weight":
            state[key] = (state[key].float() * 16).half()
    return state


def rule_hash(state: Mapping[str, Tensor], prefix: str = "") -> str:
    """SHA-256 over sorted names (without `prefix`) and fp16 bytes, as the manifests state it."""
    digest = hashlib.sha256()
    for key in sorted(state):
        if key.startswith(prefix):
            digest.update(key.removeprefix(prefix).encode())
            digest.update(state[key].half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_drawn(component: Component, state: dict[str, Tensor], config: Any) -> Any:
    """The state through a file and the pack's own `load_model`, in fp32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(state, path)
        return load_model(path, stage=component, config=config, dtype=torch.float32)


def load_stated(
    fixture: Fixture,
    component: Component,
    layout: str,
    config: Any,
    seeds: Mapping[str, int],
    file: Path | None,
    label: str,
) -> Any:
    """A component with the weights of a file, or made again where the file is not there.

    Weights made again are checked against the manifest's `weights_sha256[label]`, if it is stated.
    """
    if file is not None and file.is_file():
        return load_model(file, stage=component, config=config, dtype=torch.float32)
    blank = build(component, config, "meta")
    state = drawn_state(blank, component, layout, seeds)
    stated = fixture.manifest.get("weights_sha256", {}).get(label)
    if stated is not None:
        same = rule_hash(state) == stated
        fixture.add(f"{label}: weights made again", 0.0 if same else math.inf, 0.0)
    return load_drawn(component, state, config)
