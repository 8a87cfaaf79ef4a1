"""Hide what identifies a person or a machine, before a page is published (`empg-gym view --redact`).

Hidden, each by a word in brackets:
    - secrets, as `empg_gym.runs.redaction` recognises them, which includes user names and passwords in URLs;
    - absolute paths, `~/…` and `C:\\…`, and the folders of the run, of this process and of temporary files;
    - the name of this machine and hosts of internal addresses (no dot, or .local, .internal, .lan, .corp, .intranet, .home.arpa);
    - the name of this user, and those that home folders in the run's files name;
    - e-mail addresses and IP addresses.

Rules:
    - It applies to every text of the page: settings, summary, errors, titles, tasks and the texts of episodes.
    - Where a text of a step changed, its token ids and token texts are left out too, since they spell the response.
    - It knows forms, not meanings: a name in a sentence stays. Look at the page before you publish it.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from empg_gym.runs.redaction import Redactor
from empg_gym.trajectory import Step, Trajectory

PATH, USER, HOST, EMAIL, ADDRESS = "[path]", "[user]", "[host]", "[e-mail]", "[address]"
_SHORTEST = 3
"""Characters of a name that is replaced wherever it occurs."""
_COMMON = frozenset(
    {"root", "user", "users", "admin", "ubuntu", "debian", "runner", "nobody", "jovyan", "app", "home", "test", "localhost", "shared"}
)
"""Names that identify nobody."""
_ROOTS = "home|Users|root|mnt|media|data|datasets|scratch|workspace|work|srv|opt|var|tmp|private|usr|etc|nfs|cluster|projects?|Volumes"
_REST = r"[^\s\"'<>|:*?,;()\[\]{}]+"
_PATHS = re.compile(rf"(?<![\w./:-])(?:/(?:{_ROOTS})/{_REST}|~\w*/{_REST}|[A-Za-z]:\\{_REST})")
_HOME = re.compile(r"(?:/home|/Users|\\Users)[/\\]([^/\\\s\"']+)")
_URL_HOST = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/@]*@)?)([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")
_INTERNAL = re.compile(r"\.(?:local|internal|lan|corp|intranet|home\.arpa)\Z", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_IPV4 = re.compile(r"(?<![\w.])(?!127\.0\.0\.1\b|0\.0\.0\.0\b)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")


_HEX = "[0-9A-Fa-f]{1,4}"
_IPV6 = re.compile(rf"(?<![\w:.])(?:(?:{_HEX}:){{3,7}}{_HEX}|{_HEX}(?::{_HEX})*::(?:{_HEX}(?::{_HEX})*)?)(?![\w:])")


class Publisher:
    """Hides what identifies a person or a machine.

    Args:
        folder: the run, whose path is hidden.
        user: name of the user; None means this process's.
        host: name of the machine; None means this one.
        environ: environment variables that may hold secrets; None means this process's.
    """

    def __init__(self, folder: Path, *, user: str | None = None, host: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._secrets = Redactor(environ=environ)
        places = {folder.resolve().parent, Path.cwd(), Path.home(), Path(tempfile.gettempdir())}
        known = sorted({str(place) for place in places if len(place.parts) > 1}, key=len, reverse=True)
        self._places = re.compile("|".join(rf"{re.escape(place)}(?:/{_REST})?(?![\w-])" for place in known)) if known else None
        machine = socket.gethostname() if host is None else host
        self._hosts = _names({machine, machine.partition(".")[0]})
        self._people: set[str] = {_user() if user is None else user}
        self._users = _names(self._people)

    def learn(self, *trees: Any) -> None:
        """Take the names of home folders in a run's files for names of users."""
        for text in _texts(trees):
            self._people.update(_HOME.findall(text))
        self._users = _names(self._people)

    def text(self, text: str) -> str:
        """Return a text without what identifies a person or a machine."""
        text = self._secrets.text(text)
        if self._places is not None:
            text = self._places.sub(PATH, text)
        text = _EMAIL.sub(EMAIL, _PATHS.sub(PATH, text))
        text = _IPV6.sub(ADDRESS, _IPV4.sub(ADDRESS, _URL_HOST.sub(_hide_host, text)))
        for names, mask in ((self._hosts, HOST), (self._users, USER)):
            if names is not None:
                text = names.sub(mask, text)
        return text

    def tree(self, value: Any) -> Any:
        """Return settings, keys included."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def trajectory(self, trajectory: Trajectory) -> Trajectory:
        """Return an episode."""
        names = [item.name for item in fields(trajectory) if item.type in ("str", "str | None")]
        texts: dict[str, Any] = {name: self.text(value) for name in names if (value := getattr(trajectory, name))}
        return replace(trajectory, **texts, info=self.tree(trajectory.info), steps=[self._step(step) for step in trajectory.steps])

    def _step(self, step: Step) -> Step:
        names = ("observation", "response", "thought", "action", "error")
        texts: dict[str, Any] = {name: self.text(value) for name in names if (value := getattr(step, name))}
        actions = tuple(self.text(action) for action in step.admissible_actions)
        if all(getattr(step, name) == value for name, value in texts.items()):
            return replace(step, admissible_actions=actions)
        return replace(step, **texts, admissible_actions=actions, response_token_ids=None, token_texts=None, prompt_token_ids=None)


def _hide_host(found: re.Match[str]) -> str:
    scheme, host = found.groups()
    public = "." in host and not _INTERNAL.search(host)
    return found[0] if public or host == "localhost" else scheme + HOST


def _names(names: Iterable[str]) -> re.Pattern[str] | None:
    known = sorted((name for name in names if len(name) >= _SHORTEST and name.lower() not in _COMMON), key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, known))})(?![A-Za-z0-9])") if known else None


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this user id
        return os.environ.get("USER", "")
