"""Errors of EMPG Gym.

Every error that a user can cause derives from `EMPGGymError`; its text says what was expected, what came and what to do.
The command line prints that text and exits with code 2; nothing that a user types leads to a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EMPGGymError(Exception):
    """Base of all errors that EMPG Gym raises on purpose."""


class ConfigError(EMPGGymError, ValueError):
    """An argument or a configuration value can't be used."""


class DataError(EMPGGymError):
    """A data file or folder is missing, damaged or of another kind than expected."""


class MissingSplitError(DataError):
    """Data that is whole otherwise lacks the split that was asked for."""


class TrainingError(EMPGGymError):
    """A training run has collapsed: going on would teach nothing."""


class TaskError(EMPGGymError, LookupError):
    """A task that the environment does not have was asked for."""


class MissingDependencyError(EMPGGymError, ImportError):
    """A package or program that this feature needs is not installed."""


class OutputExistsError(EMPGGymError):
    """The output folder is in use and would be overwritten."""


class AgentError(EMPGGymError):
    """An agent or the endpoint behind it failed to give a completion."""


class RowOverflowError(EMPGGymError):
    """The next message does not fit into the model's token row; the rollout ends the episode with `StopReason.ROW_TOKENS`."""


class EnvironmentFailure(EMPGGymError):
    """A part that an environment runs on (browser, engine, server) failed and could not be restarted."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error sentence: the closest known name, else all of them.

    Example: `nearest("tain", ["train", "test"])` gives `"did you mean 'train'?"`.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names)


def require(module: str, extra: str, purpose: str) -> object:
    """Import `module`, or raise an error that names the extra to install.

    Raises:
        MissingDependencyError: the module can't be imported.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {module!r}, which is not installed; run: pip install 'empg-gym[{extra}]'"
        ) from error
