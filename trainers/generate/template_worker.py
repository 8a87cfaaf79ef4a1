"""The process in which a model's chat template is rendered; started by `empg_gym.trainers.generate.template_process` as a script.

A chat template is a program that comes with a model. Here it runs in Jinja's sandbox, in a process that holds nothing worth stealing,
with limits that the operating system enforces:
    - CPU time for each rendering: the process is killed by SIGPROF, also inside a long operation of the interpreter;
    - memory, no files to write, no core dump.

Protocol: JSON lines. The first request is {"template", "variables", "seconds"}, the others are {"messages", "add_generation_prompt"}. Each
reply is {"text"} or {"error"}.

The environment is that of transformers (`transformers.utils.chat_template_utils`, 5.23), which would take seconds to import: the same
options, extensions, filters and globals. A test compares the results.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY = 1 << 30
"""Bytes of address space."""
LONGEST = 1 << 25
"""Characters of a rendered conversation."""


class Generation(Extension):
    """The block `{% generation %}`, which marks a response and changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012 (the type is Jinja's)

    def parse(self, parser: Any) -> Any:
        """Return the nodes of the block."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller: Any) -> Any:
        return caller()


class PlainDict:
    """What a template sees as `dict`: it makes dictionaries and leads to no class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return `dict.fromkeys(...)`."""
        return dict.fromkeys(*args)


class PlainNamespace(Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            PlainNamespace._check(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        PlainNamespace._check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a chat template can't store {name!r} in a namespace")


def _tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def compile_template(text: str) -> jinja2.Template:
    """Return the template, compiled in the environment of transformers."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        {
            "raise_exception": _raise,
            "strftime_now": lambda layout: datetime.now().strftime(layout),
            "dict": PlainDict(),
            "namespace": PlainNamespace,
        }
    )
    return environment.from_string(text)


def main(requests: Iterable[str]) -> None:
    """Answer requests until there are no more."""
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a platform without it, or a stricter limit
            resource.setrlimit(limit, (value, value))
    template: jinja2.Template | None = None
    variables: dict[str, Any] = {}
    seconds = 0.0
    for line in requests:
        request = json.loads(line)
        seconds = request.get("seconds", seconds)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            if template is None:
                variables, template = request["variables"], compile_template(request["template"])
                text = ""
            else:
                given = {**variables, "messages": request["messages"], "add_generation_prompt": request["add_generation_prompt"]}
                text = template.render(tools=None, documents=None, **given)
            reply = {"text": text} if len(text) <= LONGEST else {"error": f"its text has more than {LONGEST} characters"}
        except MemoryError:
            reply = {"error": f"it needs more than {MEMORY >> 20} MB of memory"}
        except Exception as error:  # a template can raise anything
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        written = json.dumps(reply)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(written + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.stdin)
