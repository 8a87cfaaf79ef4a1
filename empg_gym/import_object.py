"""Objects in users' own Python modules, named `module:object`: agents, algorithms, backends."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from empg_gym.errors import ConfigError, nearest


def import_object(target: str) -> Any:
    """Return the object that `target` ("pkg.module:object") names. The current folder is searched first, as `python -m` does.

    Raises:
        ConfigError: the module or the object does not exist, or importing the module fails.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ConfigError(f"expected module:object, such as my_module:my_object, not {target!r}")
    found: Any = import_module(module_name, target)
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigError(f"{module_name} has no {part!r}; {nearest(part, names)}")
        found = getattr(found, part)
    return found


def import_module(module_name: str, wanted_by: str) -> ModuleType:
    """Return a module of a user's own, from the current folder first.

    Raises:
        ConfigError: the module does not exist, or importing it fails.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and module_name.startswith(error.name):
            raise ConfigError(f"no module {error.name!r} here or in the Python path (asked for by {wanted_by})") from None
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = (
            "" if isinstance(error, SyntaxError) else f" ({place.filename}, line {place.lineno})"
        )  # a SyntaxError names its place itself
        raise ConfigError(f"the module {module_name} can't be imported: {type(error).__name__}: {error}{where}") from error
