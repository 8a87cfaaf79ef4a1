"""Command options that are generated from a configuration model.

Every field with a `Flag` becomes an option: its docstring is the help text, its default and bounds are the option's. `--field-name` follows
from the name, and the type from the annotation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from empg_gym.runs.flags import Flag

_TYPES = (bool, int, float, Path, str)
"""Types that the command line reads, the first that a field accepts wins."""


def with_options(model: type[BaseModel], command: Callable[..., Any]) -> Callable[..., Any]:
    """Return `command` with the options of `model` in front of its own.

    Args:
        model: the configuration.
        command: called as `command(fields, **own)`, where `fields` are the values of the model's options that the user gave or that
            have a default.
    """
    flags = dict(_flags(model))
    hints = get_type_hints(command, include_extras=True)
    own = [item.replace(annotation=hints[item.name]) for item in inspect.signature(command).parameters.values() if item.name != "fields"]
    generated = [_parameter(name, model.model_fields[name], flag) for name, flag in flags.items()]

    def run(**given: Any) -> Any:
        fields = {name: given.pop(name) for name in flags}
        fields = {name: value for name, value in fields.items() if value is not None and value != []}
        for name, value in fields.items():
            read = flags[name].read
            if read is not None:
                fields[name] = read(value)
        return command(fields, **given)

    functools.update_wrapper(run, command, assigned=("__module__", "__name__", "__doc__"))
    del run.__wrapped__  # type: ignore[attr-defined]
    run.__signature__ = inspect.Signature([*generated, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _flags(model: type[BaseModel]) -> Iterator[tuple[str, Flag]]:
    from empg_gym.runs.flags import Flag

    for name, field in model.model_fields.items():
        for item in field.metadata:
            if isinstance(item, Flag):
                yield name, item


def _parameter(name: str, field: FieldInfo, flag: Flag) -> inspect.Parameter:
    kind = str if flag.read is not None or flag.many else _type(field.annotation)
    settings: dict[str, Any] = {"help": " ".join((field.description or "").split()), "metavar": flag.metavar}
    for bound, option in (("ge", "min"), ("le", "max")):
        values = [getattr(item, bound) for item in field.metadata if hasattr(item, bound)]
        if values:
            settings[option] = values[0]
    long = "--" + name.replace("_", "-")
    spelled = [f"{long}/--no-{long[2:]}" if kind is bool else long, *([flag.short] if flag.short else [])]
    info = typer.Argument(**settings) if flag.argument else typer.Option(*spelled, **settings)
    annotation: Any = list[str] if flag.many else kind
    default = None if field.is_required() or flag.read is not None else field.default
    if default is None:
        annotation = annotation | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info])


def _type(annotation: Any) -> type:
    """Return the type in which the command line reads a field."""
    accepted = set(_members(annotation))
    return next(kind for kind in _TYPES if kind in accepted)


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type):
        yield annotation
    for option in get_args(annotation):
        yield from _members(option)
