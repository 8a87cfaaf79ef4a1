"""Describe the machine of a measurement: CPU, memory and package versions, never a host name or a path."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine(*packages: str) -> dict[str, object]:
    """Return the CPU, cores, memory, Python version and the versions of `packages`."""
    cpu = platform.processor() or platform.machine()
    memory_gb: float | None = None
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        cpu = next((line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), cpu)
    if meminfo.exists():
        memory_gb = round(int(meminfo.read_text().split()[1]) / 2**20, 1)
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": memory_gb,
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions,
    }
