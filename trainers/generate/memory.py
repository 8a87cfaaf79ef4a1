"""How much memory the generator's cache may use.

Rules:
    - A budget in GB is taken as it is; otherwise it is a share of the memory that is free when the cache is first filled: on CUDA what the
      device and torch's allocator have left, on the CPU what the system, or the container's limit, has left.
    - Where the free memory is unknown there is no budget.
"""

from __future__ import annotations

from pathlib import Path

import torch

from empg_gym.errors import ConfigError

GB = 10**9
_UNLIMITED = 2**62
_CONTAINER = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Limit and usage of a Linux container, by version of its control groups."""


def check_budget(cache_gb: float | None, cache_share: float) -> None:
    """Check the options of a budget.

    Raises:
        ConfigError: a value out of range.
    """
    if cache_gb is not None and not cache_gb > 0:
        raise ConfigError(f"cache_gb must be above 0 (None uses cache_share), not {cache_gb}")
    if not 0 < cache_share <= 1:
        raise ConfigError(f"cache_share must be above 0 and at most 1, not {cache_share}")


def budget_bytes(device: torch.device, cache_gb: float | None, cache_share: float) -> int:
    """Return the memory that a cache on `device` may use, in bytes."""
    if cache_gb is not None:
        return int(cache_gb * GB)
    free = free_bytes(device)
    return _UNLIMITED if free is None else int(cache_share * free)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes; None where it is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    found = [free for free in (_system(), *(_container(*files) for files in _CONTAINER)) if free is not None]
    return min(found) if found else None


def _system() -> int | None:
    """Return the memory of this machine that processes can get without swapping; None off Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container(limit: Path, usage: Path) -> int | None:
    """Return what the container's limit leaves; None where it sets none."""
    try:
        return max(0, int(limit.read_text()) - int(usage.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return None
