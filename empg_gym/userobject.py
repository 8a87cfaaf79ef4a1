"""What users name in their own Python modules as `module:object`: agents, algorithms."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, nearest


def find_object(target: str) -> Any:
    """Return the object that `target` ("pkg.module:object") names. The current folder is looked in first, as `python -m` does.

    Raises:
        ConfigError: no such module or object.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ConfigError(f"expected module:object, such as my_module:my_object, not {target!r}")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ConfigError(f"no module {error.name!r} here or in the Python path (asked for by {target})") from None
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigError(f"{module_name} has no {part!r}; {nearest(part, names)}")
        found = getattr(found, part)
    return found
