"""The list of all runs below a folder, as one HTML page that links to their reports.

Rules:
    - A folder with metrics, episodes or a summary is a run; what is inside it (checkpoints) is not searched.
    - A run whose files are damaged is listed with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from empg_gym.errors import EMPGGymError
from empg_gym.report.cells import number, short_env
from empg_gym.report.page import asset, templates
from empg_gym.report.publish import Publisher
from empg_gym.report.run_reader import METRICS, RunReader
from empg_gym.runs.folder import SUMMARY, TRAJECTORIES
from empg_gym.scoring.format import MISSING, percent

_RUN_FILES = (METRICS, TRAJECTORIES, SUMMARY)
_DEEPEST = 6
"""Levels of folders that are searched."""


_TEXTS = ("name", "environment", "method", "trouble")
"""Fields of an entry that may name a person or a machine."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of the list."""

    name: str
    """Path from the folder."""
    kind: str
    environment: str
    method: str
    """Of a training run its method, of an evaluation its agent."""
    score: str
    """Success on held-out tasks."""
    date: str
    """When a file of the run was last written, in local time."""
    link: str
    """Relative address of the report."""
    trouble: str = ""
    """Why the run can't be read."""


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders below a folder, sorted by path."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        if any(name in files for name in _RUN_FILES):
            found.append(Path(place))
            folders.clear()
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = [name for name in folders if not name.startswith(".")] if depth < _DEEPEST else []
    return sorted(found)


def is_collection(folder: Path) -> bool:
    """Whether a folder is not a run but has runs below it."""
    return folder.is_dir() and not any((folder / name).is_file() for name in _RUN_FILES) and bool(find_runs(folder))


def written(run: Path) -> float:
    """Return when a file of a run was last written, in seconds since the epoch."""
    return max((run / name).stat().st_mtime for name in _RUN_FILES if (run / name).is_file())


def entries(folder: Path, reports: dict[Path, str]) -> list[Entry]:
    """Return the runs below a folder, the latest first.

    Args:
        folder: the folder.
        reports: the runs, each with the address of its report; "" where it has none.
    """
    return [_entry(folder, run, link) for run, link in sorted(reports.items(), key=lambda item: -written(item[0]))]


def index_page(folder: Path, found: Sequence[Entry], *, redact: bool = False) -> Iterator[str]:
    """Yield the page in pieces; `redact` hides what identifies a person or a machine, except in addresses of reports."""
    title = folder.resolve().name
    if redact:
        publisher = Publisher(folder)
        title = publisher.text(title)
        found = [replace(entry, **{name: publisher.text(getattr(entry, name)) for name in _TEXTS}) for entry in found]
    code = f'"use strict";\n(() => {{\n{asset("index.js")}\n}})();\n'
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return (
        templates().get_template("index.jinja").generate(title=title, entries=found, style=asset("report.css"), script=code, digest=digest)
    )


def _entry(folder: Path, path: Path, link: str) -> Entry:
    name = str(path.relative_to(folder))
    date = datetime.fromtimestamp(written(path)).strftime("%Y-%m-%d %H:%M")
    run = RunReader(path)
    try:
        run.read_numbers()
    except EMPGGymError as error:
        return Entry(name, "Damaged", MISSING, MISSING, MISSING, date, link, str(error))
    kind, environments, method, score = _training(run) if run.is_training else _evaluation(run)
    return Entry(name, kind, ", ".join(map(short_env, environments)) or MISSING, method or MISSING, score or MISSING, date, link)


def _training(run: RunReader) -> tuple[str, list[str], str, str]:
    env, algorithm = _section(run.config, "env"), _section(run.config, "algorithm") or _section(run.summary, "algorithm")
    after = run.summary.get("after")
    finished = [one for one in after if isinstance(one, dict)] if isinstance(after, list) else []
    scores = {str(one.get("split")): number(one.get("success")) for one in finished}
    if not scores:
        for line in run.metrics:
            scores |= {key[5:-8]: value for key, value in line.values.items() if key.startswith("eval/") and key.endswith("/success")}
    kind = "Training" if finished else f"Training, step {run.metrics[-1].step}" if run.metrics else "Training, begun"
    return kind, [str(env["id"])] if "id" in env else [], str(algorithm.get("advantage", "")), _scores(scores)


def _evaluation(run: RunReader) -> tuple[str, list[str], str, str]:
    settings, results = _section(run.config, "environments"), _section(run.summary, "results")
    agent = run.config.get("agent")
    name = agent.get("name") if isinstance(agent, dict) else agent
    ids = dict.fromkeys(str(one.get("env_id")) for one in settings.values() if isinstance(one, dict))
    scores = {short_env(str(key)): number(one.get("success_rate")) for key, one in results.items() if isinstance(one, dict)}
    kind = "Evaluation" if run.summary.get("complete", bool(results)) else "Evaluation, unfinished"
    return kind, list(ids or results), str(name or ""), _scores(scores)


def _scores(scores: dict[str, float | None]) -> str:
    known = {name: value for name, value in scores.items() if value is not None}
    return (
        percent(next(iter(known.values()))) if len(known) == 1 else ", ".join(f"{name} {percent(value)}" for name, value in known.items())
    )


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}
