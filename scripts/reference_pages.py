"""Pages of the reference, generated while the site is built: every configuration key, command option and `info` key.

MkDocs calls `on_files` (`hooks` in mkdocs.yml). The pages come from the code itself, so they are never out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
COMMON_INFO = {
    "task": "id of the task",
    "instruction": "the goal, in words",
    "admissible_actions": "actions that the environment can carry out now, or templates with `<name>` for free text",
    "valid_action": "whether the environment could carry out the last action",
    "success": "whether the task has been solved, as the benchmark defines it",
    "score": "the benchmark's score of the episode so far, 0..1",
    "step": "number of actions so far",
}
"""Keys of `info` in every environment."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for name, content in (("config", config_page()), ("commands", commands_page()), ("info", info_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def config_page() -> str:
    """Return the page of all configuration keys."""
    from empg_gym.trainers.config.sections import TrainConfig

    parts = [
        "# Configuration keys",
        "The keys of a training configuration ([training](../training.md)), by section. `--set section.key=value` overrides one.",
        *_sections(TrainConfig, (), None),
    ]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """Return the page of all commands and their options."""
    import typer

    from empg_gym import cli

    cli._mount()
    parts = ["# Commands", "The commands of `empg-gym` with all options; `--help` prints the same."]
    return "\n\n".join([*parts, *_commands(typer.main.get_command(cli.app), "empg-gym")]) + "\n"


def info_page() -> str:
    """Return the page of all keys of `info`."""
    from empg_gym.registration import ENVIRONMENTS, make

    parts = [
        "# Keys of `info`",
        "`reset` and `step` of every environment return these keys ([environments](../environments.md)):",
        _table(("key", "meaning"), [(f"`{key}`", meaning) for key, meaning in COMMON_INFO.items()]),
    ]
    for env_id in ENVIRONMENTS:
        env = make(env_id)
        _, info = env.reset(seed=0)
        env.close()
        own = {key: value for key, value in info.items() if key not in COMMON_INFO}
        kind = inspect.getmodule(type(env.unwrapped))
        card = Path(inspect.getfile(kind)).parent.name if kind is not None else ""
        parts += [
            f"## {env_id}",
            f"Additional keys, as on [its card](../environments/{card}.md):",
            _table(("key", "type", "meaning"), [(f"`{key}`", type(value).__name__, _meaning(key, card)) for key, value in own.items()]),
        ]
    return "\n\n".join(parts) + "\n"


def _meaning(key: str, card: str) -> str:
    """Return what the table of a card says about a key."""
    text = (ROOT / "envs" / card / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\|[^|]*`{key}`[^|]*\|(.+)\|$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _sections(model: type[BaseModel], place: tuple[str, ...], defaults: object) -> Iterator[str]:
    """Yield the heading, the description and the table of a section, then those of the sections in it.

    Args:
        model: the section.
        place: its keys.
        defaults: the value of the section where nothing is set; None if it is required or a list.
    """
    described, inner = _attribute_docstrings(model), []
    rows = []
    for name, field in model.model_fields.items():
        section = _section_of(field)
        if section is not None:
            inner.append((name, section, None if field.is_required() else field.get_default(call_default_factory=True)))
        else:
            rows.append((f"`{name}`", _type(field), _default(field, getattr(defaults, name, None)), described.get(name, "")))
    if place:
        yield f"{'#' * min(6, len(place) + 1)} [{'.'.join(place)}]"
        yield " ".join((model.__doc__ or "").split())
    if rows:
        yield _table(("key", "type", "default", "meaning"), rows)
    for name, section, value in inner:
        yield from _sections(section, (*place, name), value)


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field holds; None for a plain key."""
    from pydantic import BaseModel

    kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a class, by name."""
    found: dict[str, str] = {}
    for base in reversed([kind for kind in model.__mro__ if kind.__module__.startswith("empg_gym")]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                assert isinstance(statement.target, ast.Name)
                found[statement.target.id] = " ".join(str(after.value.value).split())
    return found


def _type(field: FieldInfo) -> str:
    """Return the type of a key in words, with its bounds."""
    from pydantic import TypeAdapter

    annotation: Any = field.annotation
    for item in field.metadata:
        annotation = _annotated(annotation, item)
    return _schema_type(TypeAdapter(annotation).json_schema())


def _annotated(annotation: Any, item: Any) -> Any:
    from typing import Annotated

    return Annotated[annotation, item]


def _schema_type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_schema_type(one) for one in schema["anyOf"])
    kind = schema.get("type", "any")
    name = {"null": "none", "object": "table", "array": "list", "boolean": "true or false"}.get(kind, kind)
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs if key in schema and abs(schema[key]) < 2**53]
    return f"{name} {', '.join(bounds)}".strip()


def _default(field: FieldInfo, given: object) -> str:
    """Return the default of a key: that of its section, else that of its class."""
    if field.is_required() and given is None:
        return "required"
    value = field.get_default(call_default_factory=True) if given is None else given
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = list(value)
    return "none" if value is None else f"`{value!r}`".replace("'", '"')


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children:
        for child in sorted(children):
            yield from _commands(children[child], f"{name} {child}")
        return
    yield f"## {name}"
    yield " ".join((command.help or "").split())
    rows = []
    whole = command.with_all_options() if hasattr(command, "with_all_options") else command
    for parameter in whole.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        shown = ", ".join(f"`{one}`" for one in names) if names[0].startswith("-") else f"`{parameter.name.upper()}`"
        if not getattr(parameter, "hidden", False):
            rows.append((shown, " ".join((getattr(parameter, "help", None) or "").split())))
    if rows:
        yield _table(("option", "meaning"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
