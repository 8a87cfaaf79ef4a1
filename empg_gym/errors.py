"""Errors of EMPG Gym.

Every error that a user can cause derives from `EMPGGymError`; its message says what was expected, what was received and what to do.
The command line prints the message and exits with code 2; user input never leads to a traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable


class EMPGGymError(Exception):
    """Base class of all errors that EMPG Gym raises on purpose."""


class ConfigError(EMPGGymError, ValueError):
    """An argument or a configuration value can't be used."""


class DataError(EMPGGymError):
    """A data file or folder is missing, damaged or not of the expected kind."""


class MissingSplitError(DataError):
    """The data is intact but lacks the requested split."""


class TrainingError(EMPGGymError):
    """A training run has collapsed: more updates would not help."""


class TaskError(EMPGGymError, LookupError):
    """The environment lacks the requested task."""


class MissingDependencyError(EMPGGymError, ImportError):
    """A package or program that this feature needs is not installed."""


class OutputExistsError(EMPGGymError):
    """The output folder is in use and would be overwritten."""


class AgentError(EMPGGymError):
    """An agent or its endpoint failed to return a completion."""


class RowOverflowError(EMPGGymError):
    """The next message does not fit into the model's token row.

    The rollout ends the episode with `StopReason.ROW_TOKENS`; where it is the first message, the episode fails with this error.
    """


class EnvironmentFailure(EMPGGymError):
    """A component of an environment (browser, engine, server) failed and could not be restarted."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the closest known name, or all known names.

    Example: `nearest("tain", ["train", "test"])` gives `"did you mean 'train'?"`.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names)


_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM),
    errno.ENAMETOOLONG,
}
_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error 28|PytorchStreamWriter failed", re.IGNORECASE)


def machine_problem(error: BaseException) -> str | None:
    """Return one sentence about a disk or a limit of this machine that an exception reports, at any place of its chain; None for others.

    Libraries report a full disk as exceptions of their own, so their texts are read too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _MACHINE:
            place = f" ({seen.filename})" if seen.filename else ""
            return f"{seen.strerror}{place}: make room or change the limit on this machine, then run the same command again"
        if _FULL.search(str(seen)):
            said = str(seen).strip().splitlines()[0][:200]
            return f"the disk is full or can't be written to ({said}): make room, then run the same command again"
        seen = seen.__cause__ or seen.__context__
    return None


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
