"""Weights on disk: what a file is, and components from it.

`files` reads and writes one file and words its errors, `folder` those of an incomplete folder.
Published key names are data in `signatures`, and `detect` recognises a component by keys and
shapes. `load` builds, loads, saves and converts one component, `components` the set in one folder;
`lora` adds a few-step student's difference. Nothing here computes a picture.
"""

from .files import CheckpointError, read_state_dict
from .load import (
    WEIGHTS_FOLDER,
    Summary,
    build,
    convert,
    detect,
    inspect,
    load_component,
    load_model,
    save_model,
    shipped_weights,
)
from .signatures import Component

__all__ = [
    "WEIGHTS_FOLDER", "CheckpointError", "Component", "Summary", "build", "convert", "detect",
    "inspect", "load_component", "load_model", "read_state_dict", "save_model", "shipped_weights",
]  # fmt: skip
