"""Check the machine: Python, torch and the GPU, compiler, browser, ports, disk."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from empg_gym.cache import cache_root
from empg_gym.doctor import Finding

OLDEST = (3, 11)
"""Minimum version, as in `pyproject.toml`; pip does not enforce it when the package runs from a folder."""
_PORTS = {8000: "empg-gym serve retrieval, and vLLM", 6006: "tensorboard"}
_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
memory = [torch.cuda.get_device_properties(i).total_memory for i in range(len(names))]
mps = bool(getattr(torch.backends, "mps", None) and torch.backends.mps.is_available())
print(json.dumps([torch.__version__, torch.version.cuda, names, memory, bool(cuda and torch.cuda.is_bf16_supported()), mps]))
"""


def python() -> Finding:
    """Check the interpreter."""
    detail = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if sys.version_info < OLDEST:
        return Finding("python", "python", "broken", f"{detail}; 3.11 or newer is needed", "uv venv --python 3.12", required=True)
    return Finding("python", "python", "ok", detail, required=True)


def examine() -> Iterator[Finding]:
    """Yield the findings about the machine."""
    yield torch_and_gpu()
    yield compiler()
    yield from browser()
    yield from ports()
    yield cache()


def torch_and_gpu() -> Finding:
    """Check torch in a separate process, since a damaged installation may crash the interpreter."""
    if find_spec("torch") is None:
        detail = "torch is not installed; only training and checkpoint agents need it"
        return Finding("torch", "torch", "missing", detail, "pip install 'empg-gym[train]'")
    run = _run([sys.executable, "-c", _TORCH], seconds=120)
    if run is None or run.returncode:
        told = "it did not answer within 120 s" if run is None else (run.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("torch", "torch", "broken", f"torch is installed but can't be used: {told}", "pip install --force-reinstall torch")
    version, cuda, names, memory, bf16, mps = json.loads(run.stdout)
    if names:
        cards = ", ".join(f"{name} ({size / 2**30:.0f} GiB)" for name, size in zip(names, memory, strict=True))
        return Finding("torch", "torch", "ok", f"torch {version}, CUDA {cuda}, {'bf16, ' if bf16 else ''}{cards}")
    if shutil.which("nvidia-smi") and _succeeds(["nvidia-smi", "-L"]):
        built = "was built without CUDA" if cuda is None else f"was built for CUDA {cuda}, which the driver does not offer"
        fix = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
        return Finding("torch", "torch", "broken", f"there is an NVIDIA GPU, but torch {version} {built}", fix)
    return Finding("torch", "torch", "ok", f"torch {version}, {'Apple GPU' if mps else 'no GPU: runs on the CPU'}")


def compiler() -> Finding:
    """Check the build tools of the textworld extra."""
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    missing = [
        name for name, path in (("a C++ compiler", found), ("cmake", shutil.which("cmake")), ("make", shutil.which("make"))) if not path
    ]
    if not missing:
        return Finding("build", "compiler", "ok", f"{found}, {_first_line(['cmake', '--version'])}")
    detail = f"{' and '.join(missing)} not found; needed only to install the extra textworld"
    if find_spec("textworld") is not None:
        return Finding("build", "compiler", "ok", f"{' and '.join(missing)} not found, but not needed: textworld is installed")
    return Finding("build", "compiler", "missing", detail, _packages("g++ cmake make", "xcode-select --install && brew install cmake"))


def browser() -> Iterator[Finding]:
    """Check Chromium and its driver, and that their versions match."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = os.environ.get("SE_CHROMEDRIVER") or shutil.which("chromedriver")
    fix = _packages("chromium chromium-driver", "brew install --cask chromium chromedriver")
    what = "needed only for WebShop in a browser"
    if binary is None:
        yield Finding("browser", "chromium", "missing", f"not found; {what}", fix)
    else:
        yield Finding("browser", "chromium", "ok", f"{_first_line([binary, '--version'])} ({binary})")
    if driver is None:
        yield Finding("browser", "driver", "missing", f"chromedriver not found; {what}", fix)
        return
    told = _first_line([driver, "--version"])
    if not told:
        fix = "unset SE_CHROMEDRIVER" if "SE_CHROMEDRIVER" in os.environ else fix
        yield Finding("browser", "driver", "broken", f"{driver} does not run", fix)
        return
    majors = {
        match.group(1) for text in (told, _first_line([binary, "--version"]) if binary else "") if (match := re.search(r"(\d+)\.", text))
    }
    if len(majors) > 1:
        yield Finding("browser", "driver", "broken", f"{told} does not match the browser", fix)
    else:
        yield Finding("browser", "driver", "ok", f"{told.partition(' (')[0]} ({driver})")


def ports() -> Iterator[Finding]:
    """Check that ports can be opened on the loopback interface, and that the default ones are free."""
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
    except OSError as error:
        detail = f"no port can be opened on 127.0.0.1 ({error.strerror}): WebShop's pages, servers and live reports can't run"
        yield Finding("ports", "loopback", "broken", detail, "ip link set lo up")
        return
    yield Finding("ports", "loopback", "ok", "ports can be opened on 127.0.0.1")
    for port, used in _PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Finding(
                    "ports", str(port), "missing", f"in use by another program; it is the default of {used}", "add --port 0 to the command"
                )
            else:
                yield Finding("ports", str(port), "ok", f"free, for {used}")


def cache() -> Finding:
    """Check that the cache folder is writable, and report the free space."""
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        fix = "export EMPG_GYM_CACHE=$HOME/empg-gym-cache"
        return Finding("disk", "cache", "broken", f"{folder} is not writable ({error.strerror})", fix, required=True)
    return Finding("disk", "cache", "ok", f"{folder}, {shutil.disk_usage(folder).free / 1e9:.0f} GB free", required=True)


def _packages(debian: str, mac: str) -> str:
    return mac if platform.system() == "Darwin" else f"apt-get install --no-install-recommends {debian}"


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _first_line(command: list[str]) -> str:
    run = _run(command, seconds=20)
    return run.stdout.strip().partition("\n")[0] if run is not None and run.returncode == 0 else ""


def _succeeds(command: list[str]) -> bool:
    run = _run(command, seconds=20)
    return run is not None and run.returncode == 0
