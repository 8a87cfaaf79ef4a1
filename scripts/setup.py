"""Create the virtual environment for `make demo` and `make test`. Standard library only.

    python scripts/setup.py VENV train       the packages for the demo
    python scripts/setup.py VENV test        plus the test extras

Versions come from constraints.txt. If a system package is missing, the command that installs it is printed; the features that need it are
omitted, and their tests are skipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = {
    "a C++ compiler": (("c++", "g++", "clang++"), "apt-get install g++", "the TextWorld engine"),
    "cmake": (("cmake",), "apt-get install cmake", "the TextWorld engine"),
    "make": (("make",), "apt-get install make", "the TextWorld engine"),
    "Chromium": (("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium", "the browser mode of WebShop"),
    "ChromeDriver": (("chromedriver",), "apt-get install chromium-driver", "the browser mode of WebShop"),
}


def missing_system_packages() -> dict[str, str]:
    """Return the missing system packages with the feature that needs each, and print them to standard error."""
    missing = {}
    for name, (programs, command, purpose) in SYSTEM.items():
        if not any(shutil.which(program) for program in programs):
            missing[name] = purpose
            print(f"note: {name} is not installed; {purpose} and its tests are omitted. To include them: {command}", file=sys.stderr)
    return missing


def install(python: Path, kind: str, without_textworld: bool) -> None:
    """Install the project and its pinned dependencies with uv."""
    environment = dict(os.environ)
    for pip_name, uv_name in (
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    ):
        if pip_name in environment:
            environment.setdefault(uv_name, environment[pip_name])
    environment.setdefault("UV_HTTP_TIMEOUT", "180")
    environment.pop("VIRTUAL_ENV", None)
    run = [str(python), "-m", "uv", "pip", "install", "--python", str(python), "--quiet"]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True, env=environment)
    extra = {"train": "train", "test": "test-without-textworld" if without_textworld else "test"}[kind]
    subprocess.run([*run, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]"], check=True, env=environment)
    if kind == "test" and not without_textworld:
        subprocess.run([*run, "--no-deps", "alfworld==0.4.2", "termcolor==3.3.0"], check=True, env=environment)


def main() -> int:
    """Create the environment unless it is up to date."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before the project is installed)
        print(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; run: make PYTHON=python3.11 …", file=sys.stderr)
        return 2
    missing = missing_system_packages() if kind == "test" else {}
    without_textworld = "the TextWorld engine" in missing.values()
    inputs = [(ROOT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml", "empg_gym/__init__.py", "scripts/setup.py")]
    state = hashlib.sha256(b"".join([*inputs, str(without_textworld).encode()])).hexdigest()
    stamp = folder / f".installed-{kind}"
    python = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == state and python.exists():
        return 0
    if not python.exists():
        print(f"creating the virtual environment {folder}")
        venv.create(folder, with_pip=True)
    print("installing packages (some minutes the first time)", flush=True)
    try:
        install(python, kind, without_textworld)
    except subprocess.CalledProcessError as error:
        code = error.returncode
        print(
            f"error: an installation step failed with exit code {code} (see above). Fix the cause and run the same command again.",
            file=sys.stderr,
        )
        return 2
    stamp.write_text(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
