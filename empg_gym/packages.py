"""Optional packages with an interface that changes between versions: which versions an extra was tested with."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from empg_gym.errors import MissingDependencyError


class Package(NamedTuple):
    """A package and its versions."""

    package: str
    """Name of the distribution."""
    least: str
    """Oldest version that works."""
    below: str
    """First version that was not tested."""

    @property
    def requirement(self) -> str:
        """The requirement as an extra states it: "trl>=1.16,<1.17"."""
        return f"{self.package}>={self.least},<{self.below}"

    def check(self, extra: str, purpose: str) -> None:
        """Check that the package is installed in a version that was tested.

        Args:
            extra: the extra of this package that installs it.
            purpose: what needs it, the subject of a sentence.

        Raises:
            MissingDependencyError: it is not installed, or its version is outside the range.
        """
        advice = f"run: pip install 'empg-gym[{extra}]'"
        try:
            installed = version(self.package)
        except PackageNotFoundError:
            raise MissingDependencyError(f"{purpose} needs the package {self.package!r}, which is not installed; {advice}") from None
        if not _parts(self.least) <= _parts(installed) < _parts(self.below):
            raise MissingDependencyError(f"{purpose} was tested with {self.requirement}, and version {installed} is installed; {advice}")


def _parts(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (1, 16, 0) for "1.16.0.dev1"."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
