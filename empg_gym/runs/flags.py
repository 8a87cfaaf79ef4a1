"""How the command line spells the fields of a configuration model. The command is generated from the model: see `empg_gym.cli.options`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Metadata of a field that the command line offers as `--field-name`; fields without it are left out.

    Example:
        `episodes: Annotated[int | None, Field(ge=1), Flag(short="-n")] = None`
    """

    short: str | None = None
    """One-letter form."""
    metavar: str | None = None
    """Name of the value in the help text."""
    argument: bool = False
    """Whether the field is positional."""
    many: bool = False
    """Whether several values may be given: the field receives a list."""
    read: Callable[[Any], Any] | None = None
    """Converts the text (a list of texts with `many`) to the field's value; None for types that the command line reads itself."""
