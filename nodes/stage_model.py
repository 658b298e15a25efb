"""What the nodes know of a MODEL of ours; `comfy_model` makes it."""

from __future__ import annotations

from typing import Any

from ..pcdm_core.config import InpaintingConfig, Preset, RefiningConfig
from .managed import Resident


class StageModel:
    """The model of one stage, beside what ComfyUI's `BaseModel` is.

    Attributes:
        preset: whose model it is.
        core_config: of the stage.
        conditioner: our model without its UNet: configuration, projection and pose encoder, from
            which the conditioning nodes make what the UNet sees. No submodule, because the host
            moves those in parts, and these know nothing of that.
    """

    preset: Preset
    core_config: InpaintingConfig | RefiningConfig
    conditioner: Resident


def stage_model(model: Any, *kinds: type[InpaintingConfig] | type[RefiningConfig]) -> StageModel:
    """The model inside a MODEL, which must be of one of these stages.

    Args:
        kinds: configurations of the stages.

    Raises:
        ValueError: it is another one; the loader to connect is named.
    """
    inner = getattr(model, "model", None)
    if isinstance(inner, StageModel) and isinstance(inner.core_config, kinds):
        return inner
    family = "PCDM's for the other stage" if isinstance(inner, StageModel) else "of another family"
    names = {InpaintingConfig: "Inpainting", RefiningConfig: "Refining"}
    loaders = " or ".join(f"PCDM Load {names[kind]} Model" for kind in kinds)
    raise ValueError(f"This MODEL is {family}. Connect {loaders}; patches may lie between.")
