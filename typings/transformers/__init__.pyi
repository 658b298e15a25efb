# For the type checker alone, and for the same reasons as diffusers beside it.
from typing import Any

def __getattr__(name: str) -> Any: ...
