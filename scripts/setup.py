"""Make the virtual environment that `make demo` and `make test` run in. Standard library only.

    python scripts/setup.py VENV train       what the demo needs
    python scripts/setup.py VENV test        the test extras besides

Versions come from constraints.txt. A system package that is missing is named with the command that installs it; what needs it is left
out, and the tests that need it skip.
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
    """Return {package: what needs it}, and name each on standard error."""
    missing = {}
    for name, (programs, command, purpose) in SYSTEM.items():
        if not any(shutil.which(program) for program in programs):
            missing[name] = purpose
            print(f"note: {name} is not installed; {purpose} and its tests are left out. To have them: {command}", file=sys.stderr)
    return missing


def install(python: Path, kind: str, without_textworld: bool) -> None:
    """Install the project and its dependencies with uv, pinned."""
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
    """Run the set-up unless it is done already."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before the project is installed)
        print(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; run: make PYTHON=python3.11 …", file=sys.stderr)
        return 2
    missing = missing_system_packages() if kind == "test" else {}
    without_textworld = "the TextWorld engine" in missing.values()
    inputs = [(ROOT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml", "scripts/setup.py")]
    state = hashlib.sha256(b"".join([*inputs, str(without_textworld).encode()])).hexdigest()
    stamp = folder / f".installed-{kind}"
    python = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == state and python.exists():
        return 0
    if not python.exists():
        print(f"making the virtual environment {folder}")
        venv.create(folder, with_pip=True)
    print("installing packages (some minutes the first time)", flush=True)
    try:
        install(python, kind, without_textworld)
    except subprocess.CalledProcessError as error:
        code = error.returncode
        print(
            f"error: an installation step failed with exit code {code} (see above). Mend it and run the same command again.",
            file=sys.stderr,
        )
        return 2
    stamp.write_text(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
