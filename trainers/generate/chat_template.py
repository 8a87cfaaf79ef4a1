"""Chat templates: which one a tokenizer renders with, its arguments, and the date that it prints.

Rules:
    - The settings become part of the template's text, as a header of `set` lines. A saved tokenizer is therefore complete: the trainer, its
      evaluations, the agent `checkpoint:DIR` and any server that loads the checkpoint render the same text, without further arguments.
    - A template that prints today's date prints a fixed one, so that rows are the same on any day.
    - Settings of a header stay in effect unless they are set again.
    - A template that needs none of this is not changed.
    - Importing this imports no torch.

Example:
    >>> set_chat_template(tokenizer, ChatTemplate(name="qwen3-keep-thoughts", args={"enable_thinking": False}))
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.errors import ConfigError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from empg_gym.trainers.config.sections import ModelConfig

DATE = datetime.date(2024, 7, 26)
"""The date that templates print by default: that of Llama 3.2's template where the clock is not available."""
_MARK = "{#- Settings of this template, written by empg-gym. -#}\n"
_CLOCK = "strftime_now"
_RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", _CLOCK})
_DIRECTIVES = "aAbBdeFHIjmMpSTyY"
_LINE = re.compile(r"\{%- (?:set|macro) (\w+).*\n")


@dataclass(frozen=True, slots=True)
class Variant:
    """A template that comes with this package."""

    file: str
    """In the folder `templates`."""
    args: Mapping[str, Any]
    """Arguments that the family of models needs."""
    tokens: tuple[str, ...]
    """Tokens that the tokenizer must have."""


_CHATML = ("<|im_start|>", "<|im_end|>")
VARIANTS: dict[str, Variant] = {
    "qwen3-keep-thoughts": Variant("keep_thoughts.jinja", {}, _CHATML),
    "qwen3.5-keep-thoughts": Variant("keep_thoughts.jinja", {"opens_thought": True}, _CHATML),
}
"""By name. They keep the thoughts of earlier steps, so that an episode stays one row: "qwen3-keep-thoughts" for models that open a thought
themselves (Qwen3), "qwen3.5-keep-thoughts" for those whose prompt opens it (Qwen3.5, Qwen3.6, Qwen3-Thinking-2507)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """Settings of a tokenizer's chat template."""

    name: str | None = None
    """A name in `VARIANTS`, a name in the tokenizer (if it has several templates), the path of a Jinja file, or the template's text; None
    keeps the tokenizer's."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template, such as `enable_thinking`."""
    date: datetime.date | None = None
    """The date that a template prints instead of today's; None keeps that of the header, or `DATE`."""

    @classmethod
    def of(cls, model: ModelConfig) -> ChatTemplate:
        """Return the settings of a configuration."""
        return cls(name=model.chat_template, args=model.template_args, date=model.template_date)


def set_chat_template(tokenizer: PreTrainedTokenizerBase, wanted: ChatTemplate) -> None:
    """Give a tokenizer its chat template, with settings and date.

    Raises:
        ConfigError: there is no such template, the tokenizer lacks a token that it needs, or the template lacks an argument. Where the
            tokenizer has no template and none is wanted, it stays without.
    """
    text, args = _find(tokenizer, wanted.name)
    if text is None:
        return
    header, body = _split(text)
    args |= wanted.args
    for name in args:
        _check(name, body)
    header |= {name: f"{{%- set {name} = {_literal(value)} %}}\n" for name, value in args.items()}
    if _CLOCK in body and (wanted.date is not None or _CLOCK not in header):
        header[_CLOCK] = _clock(wanted.date or DATE)
    if header:
        tokenizer.chat_template = _MARK + "".join(header.values()) + body
    elif text != tokenizer.chat_template:
        tokenizer.chat_template = text


def _find(tokenizer: PreTrainedTokenizerBase, name: str | None) -> tuple[str | None, dict[str, Any]]:
    """Return the text of a template and the arguments that belong to it."""
    own: Any = tokenizer.chat_template
    named = own if isinstance(own, dict) else {}
    if name is None:
        return (named.get("default") if named else own), {}
    if name in named:
        return str(named[name]), {}
    if name in VARIANTS:
        variant = VARIANTS[name]
        lacking = [token for token in variant.tokens if token not in tokenizer.get_vocab()]
        if lacking:
            raise ConfigError(f"the chat template {name!r} is for another family of models: the tokenizer lacks {', '.join(lacking)}")
        return resources.files("empg_gym.trainers.generate").joinpath("templates", variant.file).read_text(encoding="utf-8"), dict(
            variant.args
        )
    if "{%" in name or "{{" in name:
        return name, {}
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"unknown chat template {name!r}: expected the path of a Jinja file, the text of a template, or a name; "
            + nearest(name, [*VARIANTS, *named])
        )
    try:
        return path.read_text(encoding="utf-8"), {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the chat template {name} can't be read ({error}); expected a text file in UTF-8") from error


def _split(text: str) -> tuple[dict[str, str], str]:
    """Return the header's lines by the name that each sets, and the rest of the text."""
    lines: dict[str, str] = {}
    if not text.startswith(_MARK):
        return lines, text
    position = len(_MARK)
    while found := _LINE.match(text, position):
        lines[found[1]] = found[0]
        position = found.end()
    return lines, text[position:]


def _check(name: str, body: str) -> None:
    words = set(re.findall(r"[A-Za-z_]\w*", body))
    if name in _RESERVED or not name.isidentifier():
        raise ConfigError(f"{name!r} can't be an argument of a chat template (template_args); expected a variable of the template")
    if name not in words:
        close = difflib.get_close_matches(name, words, 1)
        hint = f"did you mean {close[0]!r}?" if close else "remove it, or choose another template"
        raise ConfigError(f"the chat template has no variable {name!r} (template_args); {hint}")


def _literal(value: Any) -> str:
    """Return a value as a literal of Jinja."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, datetime.date):
        value = value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def _clock(date: datetime.date) -> str:
    """Return a macro that formats a fixed date, in place of the function that formats the current time."""
    midnight = datetime.datetime.combine(date, datetime.time())
    values = {f"%{letter}": midnight.strftime(f"%{letter}") for letter in _DIRECTIVES} | {"%-d": str(date.day), "%-m": str(date.month)}
    filters = "".join(f" | replace({_literal(name)}, {_literal(value)})" for name, value in values.items())
    return f"{{%- macro {_CLOCK}(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}\n"
