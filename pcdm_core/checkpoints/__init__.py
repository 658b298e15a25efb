"""Weights on disk: what a file is, and components from it.

`files` reads and writes safetensors and reads upstream's pickles, `signatures` holds every
published key name as data, `detect` recognises a component by keys and shapes, `load` builds, saves
and converts, `components` puts the parts of one folder together, `difference` keeps a student
small.
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
