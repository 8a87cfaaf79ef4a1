"""Which versions of which package each adapter was tested with; the extras of the same names install them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from empg_gym.errors import MissingDependencyError


class Framework(NamedTuple):
    """The package behind an adapter."""

    package: str
    """Name of the distribution."""
    least: str
    """Oldest version that the adapter works with."""
    below: str
    """First version that it was not tested with."""

    @property
    def requirement(self) -> str:
        """The requirement as an extra states it: "trl>=1.16,<1.17"."""
        return f"{self.package}>={self.least},<{self.below}"


FRAMEWORKS: dict[str, Framework] = {
    "trl": Framework("trl", "1.16", "1.17"),
    "verifiers": Framework("verifiers", "0.4", "0.5"),
    "inspect": Framework("inspect-ai", "0.3.285", "0.4"),
    "skyrl": Framework("skyrl-gym", "0.4", "0.5"),
    "verl": Framework("verl", "0.9.1", "0.10"),
}
"""Extra to its package."""


def require_framework(extra: str) -> None:
    """Check that the package of an extra is installed in a version that the adapter was tested with.

    Raises:
        MissingDependencyError: it is not installed, or its version is outside the range.
    """
    framework = FRAMEWORKS[extra]
    advice = f"run: pip install 'empg-gym[{extra}]'"
    try:
        installed = version(framework.package)
    except PackageNotFoundError:
        raise MissingDependencyError(
            f"empg_gym.adapters.{extra} needs the package {framework.package!r}, which is not installed; {advice}"
        ) from None
    if not _parts(framework.least) <= _parts(installed) < _parts(framework.below):
        raise MissingDependencyError(
            f"empg_gym.adapters.{extra} was tested with {framework.requirement}, and version {installed} is installed; {advice}"
        )


def _parts(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (1, 16, 0) for "1.16.0.dev1"."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
