"""Secrets stay out of everything that is written or shown: the one place that knows what a secret looks like.

Rules:
    - Known secrets are replaced wherever they occur: values of options whose name says so, of environment variables that an option names
      (`api_key_env`) or whose own name says so, and passwords in addresses. Values shorter than `SHORTEST` characters are too common to be
      replaced everywhere; they are replaced at the option itself.
    - In configurations, errors, labels and logs (`Redactor.text`, `Redactor.tree`) also what only looks like a secret: user names and
      passwords in addresses, key-like query parameters and command-line options, `Bearer` headers, keys of known providers.
    - Texts of episodes (`Redactor.line`) are data: only known secrets are replaced in them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "[redacted]"
SHORTEST = 8
"""Characters of a value that is replaced wherever it occurs."""
_WORD = r"(?:api[-_]?key|(?<!state)(?<!state[-_])key|secret|passw(?:or)?d|passphrase|token|credentials?|authorization|signature)"
_OPTION = re.compile(r"key(?!_env$)|secret|password|header|token$|^env$", re.IGNORECASE)
"""Options of agents; a name that ends in `key_env` says in which variable the key is, and `tokens` are counted."""
_NAME = re.compile(rf"(?:^|[-_.]|[a-z]){_WORD}$|^(?:auth|cookie|headers)$", re.IGNORECASE)
"""Names in a tree of settings."""
_VARIABLE = re.compile(r"(?:^|_)(?:\w*KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_VARIABLE_OPTION = re.compile(r"(?:key|token|secret|password)_env$", re.IGNORECASE)
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<secret>[^\s/?#@\"']+)(?=@)",
        rf"(?i)([?&;][\w.-]*{_WORD}=)(?P<secret>[^&;\s#\"']+)",
        rf"(?i)((?<![\w-])--?[\w.-]*{_WORD}(?:=|\s+)['\"]?)(?P<secret>(?!…)[^\s'\"]+)",
        rf"(?i)(\b[\w.]*{_WORD}=['\"]?)(?P<secret>(?!…)[^\s'\"&;,)]+)",
        rf"(?i)(['\"][\w.-]*{_WORD}['\"]:\s*['\"])(?P<secret>[^'\"]+)",
        r"(?i)(\bbearer\s+)(?P<secret>(?=\S*\d)[A-Za-z0-9._~+/=-]{8,})",
        r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic\s+)?)(?P<secret>(?!bearer)[A-Za-z0-9._~+/=-]{8,})",
        r"()\b(?P<secret>sk-[\w-]{16,}|hf_\w{20,}|gh[opsur]_\w{20,}|xox[abp]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})",
    )
)


def is_secret(option: str) -> bool:
    """Whether an option ("api_key", "agent.env") may hold a secret, by the last part of its name. No output repeats its value."""
    return _OPTION.search(option.rpartition(".")[2].strip()) is not None


class Redactor:
    """Replaces secrets.

    Args:
        *options: trees of settings that hold secrets or name their variables, such as the options of an agent.
        environ: environment variables; None means this process's.
    """

    def __init__(self, *options: Any, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        found = {value for name, value in environ.items() if _VARIABLE.search(name)}
        for tree in options:
            found.update(_secrets(tree, environ))
        known = sorted({value.strip() for value in found if len(value.strip()) >= SHORTEST}, key=len, reverse=True)
        escaped = dict.fromkeys(form for value in known for form in (value, json.dumps(value)[1:-1]))
        self._known = re.compile("|".join(map(re.escape, escaped))) if escaped else None

    def line(self, text: str) -> str:
        """Return a text, or a line of JSON, without known secrets."""
        return text if self._known is None else self._known.sub(MASK, text)

    def text(self, text: str) -> str:
        """Return a text without known secrets and without what looks like one."""
        text = self.line(text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{MASK}", text)
        return text

    def tree(self, value: Any, name: str = "") -> Any:
        """Return settings without secrets, at any depth."""
        if isinstance(value, Mapping):
            masked = _NAME.search(name) is not None
            return {key: MASK if masked and isinstance(item, str) else self.tree(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item, name) for item in value]
        if isinstance(value, str):
            return MASK if value and _NAME.search(name) else self.text(value)
        return value


def _secrets(tree: Any, environ: Mapping[str, str], name: str = "") -> Iterator[str]:
    """Yield the values of a tree of settings that are secret."""
    if isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _secrets(item, environ, str(key))
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _secrets(item, environ, name)
    elif isinstance(tree, str):
        if _VARIABLE_OPTION.search(name):
            yield environ.get(tree, "")
        elif _NAME.search(name):
            yield tree
        for pattern in _PATTERNS:
            for found in pattern.finditer(tree):
                user, colon, password = found["secret"].partition(":")
                yield password if colon else user
