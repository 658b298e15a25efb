# For the type checker alone. The package calls itself typed, but is not where we use it: classes
# are loaded by name, and `tuple[int]` stands for any length. So it counts as untyped here.
from typing import Any

def __getattr__(name: str) -> Any: ...
