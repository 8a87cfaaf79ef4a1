"""Check that the source is complete before anything is built; all settings are in pyproject.toml."""

from pathlib import Path

from setuptools import setup

for name in ("envs", "trainers", "configs"):
    if not (Path(__file__).parent / "empg_gym" / name).is_dir():
        raise SystemExit(
            f"empg_gym/{name} must be a symbolic link to ../{name}, but this checkout has a file in its place, and the package would be "
            "incomplete: check out with symbolic links (git config core.symlinks true; git checkout -- empg_gym), on Windows inside WSL"
        )
setup()
