"""Which versions of which package each adapter was tested with; the extras of the same names install them."""

from __future__ import annotations

from empg_gym.packages import Package

FRAMEWORKS: dict[str, Package] = {
    "trl": Package("trl", "1.16", "1.17"),
    "verifiers": Package("verifiers", "0.4", "0.5"),
    "inspect": Package("inspect-ai", "0.3.285", "0.4"),
    "skyrl": Package("skyrl-gym", "0.4", "0.5"),
    "verl": Package("verl", "0.9.1", "0.10"),
}
"""Extra to its package."""


def require_framework(extra: str) -> None:
    """Check that the package of an extra is installed in a version that the adapter was tested with.

    Raises:
        MissingDependencyError: it is not installed, or its version is outside the range.
    """
    FRAMEWORKS[extra].check(extra, f"empg_gym.adapters.{extra}")
