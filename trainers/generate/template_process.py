"""`TemplateProcess`: a model's chat template, rendered in a process of its own that can be killed.

Rules:
    - A template is a foreign program (`empg_gym.trainers.generate.template_worker` says what it is kept from). One that uses more than
      `seconds` of CPU time for a rendering is killed and reported as a mistake of the model's folder, which ends the run.
    - A template that refuses a conversation, or fails, fails that episode alone.
    - The process starts with the first rendering, gets no variable of this process's environment but those that Python needs, and ends with
      this object, or with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 2.0
"""CPU time for one rendering; a long conversation takes some hundredths of a second."""
_WALL = 60.0
"""Seconds after which a process that uses no CPU time is given up."""
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "LANG", "LC_ALL", "LC_TIME")
_WORKER = Path(__file__).with_name("template_worker.py")


class TemplateProcess:
    """Renders conversations as `tokenizer.apply_chat_template(…, tokenize=False)` does.

    Args:
        template: the template's text.
        variables: other names that the template sees, such as the special tokens.
        seconds: CPU time for one rendering.
    """

    def __init__(self, template: str, variables: Mapping[str, Any], *, seconds: float = SECONDS) -> None:
        self._first = {"template": template, "variables": dict(variables), "seconds": seconds}
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """Return the text of a conversation.

        Raises:
            AgentError: the template refuses the conversation or fails.
            ConfigError: it can't be read, or uses too much time.
        """
        plain = [{name: value for name, value in message.items() if value is not None} for message in messages]
        with self._lock:
            if self._process is None:
                self._start()
                failure = self._ask(self._first).get("error")
                if failure is not None:
                    self.close()
                    raise ConfigError(f"the model's chat template can't be read ({failure}); correct chat_template.jinja in its folder")
            reply = self._ask({"messages": plain, "add_generation_prompt": add_generation_prompt})
        if "error" in reply:
            raise AgentError(f"the model's chat template can't render the conversation: {reply['error']}")
        return str(reply["text"])

    def close(self) -> None:
        """End the process; the next rendering starts another one."""
        self._process = None
        if self._end is not None:
            self._end()

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self._first,)

    def _start(self) -> None:
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, process)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        line = b""
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            if select.select([process.stdout], [], [], _WALL)[0]:
                line = process.stdout.readline()
        if not line.endswith(b"\n"):
            self.close()
            raise ConfigError(
                f"the model's chat template did not end within {self._seconds:g} s of CPU time or needs too much memory: it is defective "
                "or hostile; replace chat_template.jinja in the model's folder, or use another model"
            )
        reply: dict[str, Any] = json.loads(line)
        return reply


def process_of(tokenizer: PreTrainedTokenizerBase) -> TemplateProcess:
    """Return the process for the chat template of a tokenizer; of several, the default one.

    Raises:
        ConfigError: the tokenizer has several templates and none of them is the default.
    """
    try:
        text, found = tokenizer.get_chat_template(), tokenizer.special_tokens_map
    except ValueError as error:
        raise ConfigError(f"the model's tokenizer lacks a chat template to use: {error}") from None
    tokens = {name: list(map(str, token)) if isinstance(token, list) else str(token) for name, token in found.items()}
    return TemplateProcess(text, tokens)


def _remake(first: dict[str, Any]) -> TemplateProcess:
    return TemplateProcess(first["template"], first["variables"], seconds=first["seconds"])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
