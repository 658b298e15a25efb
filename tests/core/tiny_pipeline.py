"""Real components at the sizes of the test preset, with seeded random weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints import save_model
from pcdm_core.config import Preset
from pcdm_core.encoders import PatchImageEncoder, build_global_encoder
from pcdm_core.images import save_picture
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import write_openpose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.presets import PRESETS
from pcdm_core.vae import build_autoencoder

TEST = PRESETS["test"]

# x, y of the 18 joints of a standing person, as shares of the picture.
STANDING = (
    (0.50, 0.14), (0.50, 0.24),
    (0.40, 0.24), (0.35, 0.38), (0.32, 0.50),
    (0.60, 0.24), (0.65, 0.38), (0.68, 0.50),
    (0.44, 0.52), (0.43, 0.70), (0.42, 0.88),
    (0.56, 0.52), (0.57, 0.70), (0.58, 0.88),
    (0.48, 0.12), (0.52, 0.12), (0.45, 0.13), (0.55, 0.13),
)  # fmt: skip


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Every matrix, also those that start at zero, from one seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.ndim > 1 and tensor.is_floating_point():
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
    return module


def components(preset: Preset = TEST) -> dict[str, nn.Module]:
    """What `PCDMsPipeline` takes, by name; the same in every test, whatever was drawn before."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # of the biases
        return _components(preset)


def _components(preset: Preset) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {
        "inpainting": InpaintingModel(preset.inpainting),
        "autoencoder": build_autoencoder(preset.autoencoder),
        "patch_encoder": PatchImageEncoder(preset.patch_encoder),
    }
    if preset.prior is not None:
        parts["prior"] = PosePrior(preset.prior)
    if preset.global_encoder is not None:
        parts["global_encoder"] = build_global_encoder(preset.global_encoder)
    if preset.refining is not None:
        parts["refining"] = RefiningModel(preset.refining)
    return {name: randomise(part, seed) for seed, (name, part) in enumerate(parts.items())}


def tiny_pipeline(preset: Preset = TEST) -> PCDMsPipeline:
    return PCDMsPipeline(preset, **components(preset))  # type: ignore[arg-type]


def picture(seed: int = 0, height: int = TEST.height, width: int = TEST.width) -> Tensor:
    """[1, 3, H, W] in [-1, 1]: smooth noise, so that resizing keeps its character."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1
    return nn.functional.interpolate(small, (height, width), mode="bilinear")


def poses(count: int, first: int = 0) -> Keypoints:
    """[count] different poses of one person."""
    xy = torch.tensor(STANDING, dtype=torch.float64).repeat(count, 1, 1)
    for row in range(count):
        generator = torch.Generator().manual_seed(first + row)
        xy[row, 1:14] += 0.08 * torch.rand(13, 2, generator=generator, dtype=torch.float64)
    return Keypoints(xy, torch.ones(count, 18, dtype=torch.bool))


def save_tiny_weights(folder: Path, preset: Preset = TEST) -> Path:
    """A folder of weights as `PCDMsPipeline.from_folder` reads it."""
    for name, part in components(preset).items():
        save_model(part, folder / f"{name}.safetensors", stage=name)  # type: ignore[arg-type]
    return folder


def save_person(folder: Path, views: int, height: int = 96, width: int = 66) -> Path:
    """Pictures `00.png`, ... of a person with key points in `00.json`, ..."""
    for view in range(views):
        save_picture(picture(view, height, width), folder / f"{view:02d}.png")
        write_openpose(poses(1, view), folder / f"{view:02d}.json", height, width)
    return folder
