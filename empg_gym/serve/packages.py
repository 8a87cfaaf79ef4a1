"""The optional packages of serving, by extra, in the versions that it was tested with."""

from __future__ import annotations

from empg_gym.packages import Package

PACKAGES: dict[str, tuple[tuple[Package, ...], str]] = {
    "openenv": ((Package("openenv", "0.10", "0.11"), Package("uvicorn", "0.35", "1"), Package("websockets", "14", "100")), "serve env"),
    "mcp": ((Package("mcp", "2", "3"),), "serve mcp"),
    "connect": ((Package("websockets", "14", "100"),), "empg_gym.connect"),
}
"""Extra to its packages and to what needs them."""


def require_extra(extra: str) -> None:
    """Check that the packages of an extra are installed in versions that were tested.

    Raises:
        MissingDependencyError: one is not.
    """
    packages, purpose = PACKAGES[extra]
    for package in packages:
        package.check(extra, purpose)
