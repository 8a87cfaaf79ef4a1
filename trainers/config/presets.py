"""The presets that the package ships: configuration files by name.

A name stands for `configs/NAME.toml` (a base: a complete run) or `configs/parts/NAME.toml` (a method, a model or a protocol to combine with
a base). The folder is part of the wheel, so that names work from any folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from empg_gym.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True)
class Preset:
    """A shipped configuration file."""

    name: str
    path: Path
    is_part: bool
    """Whether it has to be combined with a base."""

    @property
    def summary(self) -> str:
        """The first statement of the file's comment."""
        text = " ".join(_comment(self.path.read_text(encoding="utf-8")))
        return re.split(r"[.;](?: |$)", text, maxsplit=1)[0]


def presets() -> list[Preset]:
    """Return all presets: bases, then parts, each by name."""
    root = Path(str(files("empg_gym") / "configs"))
    return [
        Preset(path.stem, path, is_part)
        for is_part, folder in ((False, root), (True, root / "parts"))
        for path in sorted(folder.glob("*.toml"))
    ]


def find_config(name: str | Path) -> Path:
    """Return the configuration file that a command line names: a path, or the name of a preset.

    Raises:
        ConfigError: there is neither a file nor a preset of that name.
    """
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    known = {preset.name: preset.path for preset in presets()}
    if path.name not in known:
        raise ConfigError(f"{path.name!r} is neither a file nor a preset; {nearest(path.name, known)}")
    return known[path.name]


def _comment(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines
