"""Configurations as pydantic models: a mistake becomes one sentence that names the key.

An unknown key is reported before any other mistake, with the nearest known key; a wrong value with what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from empg_gym.errors import ConfigError, EMPGGymError, nearest

Model = TypeVar("Model", bound=BaseModel)


def validate(
    model: type[Model],
    tree: Mapping[str, Any],
    *,
    what: str = "the configuration",
    source: Callable[[tuple[str, ...]], str | None] | None = None,
) -> Model:
    """Return the model built from a tree of sections and keys.

    Args:
        model: the model to build.
        tree: its values.
        what: name of the configuration in errors.
        source: returns the file or option that set a key, which errors begin with; None where it is unknown.

    Raises:
        ConfigError: a key is unknown or missing, or a value can't be used.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        mistakes = sorted(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
        found = source and source(tuple(map(str, mistakes[0]["loc"])))
        raise ConfigError(f"{found}: {_sentence(model, mistakes, what)}" if found else _sentence(model, mistakes, what)) from None


def _sentence(model: type[BaseModel], mistakes: Sequence[ErrorDetails], what: str) -> str:
    first = mistakes[0]
    place = [str(part) for part in first["loc"]]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {'.'.join(place)!r} in {what}; {nearest(place[-1], _keys(model, place[:-1]))}{more}"
    if first["type"] == "missing":
        return f"{what} lacks {'.'.join(place)!r}{more}"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, EMPGGymError):
        return f"{cause}{more}"
    message = first["msg"].removeprefix("Value error, ")
    came = "" if first["type"] == "value_error" else f", not {first['input']!r}"
    return f"{'.'.join(place) or what}: {message[0].lower() + message[1:]}{came}{more}"


def _keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the keys of the section at `path`."""
    for part in path:
        if part in model.model_fields:  # else the place of an item in a list
            model = next(_models(model.model_fields[part].annotation))
    return list(model.model_fields)


def _models(annotation: Any) -> Any:
    """Yield the models of an annotation such as `Section | None`, `tuple[Section, ...]` or `dict[str, Section]`."""
    if get_origin(annotation) in (Union, UnionType, Annotated, tuple, list, dict):
        for option in get_args(annotation):
            yield from _models(option)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
