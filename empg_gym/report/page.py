"""Build the page: one HTML file that contains its style, script and data.

Rules:
    - The page loads nothing: its content security policy forbids it, so the page of an untrusted run can't contact anyone.
    - Only this package's script runs: the policy names it by its hash. Texts of a run are escaped (Jinja) or become text nodes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2

from empg_gym.data_name import data_name, with_data
from empg_gym.errors import ConfigError
from empg_gym.report.breakdown import break_down
from empg_gym.report.cells import short_env
from empg_gym.report.episodes import pack
from empg_gym.report.histogram import histogram
from empg_gym.report.metrics import layout
from empg_gym.report.run_reader import RunReader
from empg_gym.report.tables import comparison, flatten, tables
from empg_gym.report.tiles import tiles
from empg_gym.report.tokens import token_texts
from empg_gym.scoring.failures import error_messages
from empg_gym.scoring.format import compact, decimal, duration, percent
from empg_gym.scoring.notices import notices
from empg_gym.scoring.prices import Prices

_SCRIPTS = ("dom", "source", "charts", "overview", "episodes", "tokens", "episode", "app")
"""In the order of their dependencies; they share one scope."""

_ERRORS = 5
"""Error messages that the overview shows."""


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("empg_gym.report", "assets")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    environment.filters["compact"] = compact
    environment.filters["decimal"] = decimal
    return environment


def _asset(name: str) -> str:
    return files("empg_gym.report.assets").joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """Return the page's script."""
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def overview_html(run: RunReader) -> str:
    """Return the parts of the overview that are rendered here: headline numbers and tables."""
    values, templates = _overview(run), _templates()
    return "".join(templates.get_template(f"{part}.jinja").render(values) for part in ("headline", "tables"))


def blocks(run: RunReader) -> Iterator[tuple[str, str]]:
    """Yield the page's data as (name, packed JSON): the overview, the table, the vocabulary and every chunk of episodes."""
    for name in ("overview", "index", "vocabulary"):
        yield name, block(run, name)
    for number in range(run.episodes.num_chunks):
        yield f"chunk-{number}", run.episodes.chunk(number)


def block(run: RunReader, name: str) -> str:
    """Return one block of data.

    Raises:
        KeyError: the block does not exist.
    """
    if name == "overview":
        return pack(
            {
                "charts": layout(run.metrics),
                "histogram": histogram(run.episodes.step_entropies),
                "entropyTop": run.episodes.entropy_top(),
                "stepTop": run.episodes.step_entropy_top(),
                "training": run.is_training,
            }
        )
    if name == "index":
        return pack(run.episodes.index())
    if name == "vocabulary":
        return pack({str(token): text for token, text in token_texts(run.folder, run.episodes.token_ids).items()})
    kind, _, number = name.partition("-")
    if kind == "chunk" and number.isdecimal():
        try:
            return run.episodes.chunk(int(number))
        except IndexError:
            raise KeyError(name) from None
    raise KeyError(name)


def page(run: RunReader, *, live: bool = False) -> Iterator[str]:
    """Yield the page in pieces; a live page contains no data and requests it from its server."""
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    values = {
        **_overview(run),
        "style": _asset("report.css"),
        "script": code,
        "digest": digest,
        "live": live,
        "blocks": () if live else blocks(run),
    }
    return _templates().get_template("report.jinja").generate(values)


def _overview(run: RunReader) -> dict[str, Any]:
    rows, records = run.episodes.rows, run.episodes.records
    errors = error_messages(records)
    data = _data(run)
    groups = break_down(rows, records)
    last = run.metrics[-1] if run.metrics else None
    return {
        "title": run.path.resolve().name,
        "kind": "Training run" if run.is_training else "Evaluation",
        "environments": [with_data(short_env(env), data.get(env)) for env in sorted({row["env"] for row in rows})],
        "method": _method(run.summary),
        "comparison": comparison(run.summary),
        "repeats": 1 if run.is_training else max((record.repeat + 1 for record in records), default=1),
        "with_tokens": any(group.tokens.total for group in groups),
        "prices": _prices(run),
        "with_entropy": any(group.entropy(success) is not None for group in groups for success in (True, False)),
        "agents": sorted({row["agent"] for row in rows if row["agent"]}),
        "episodes": len(rows),
        "failed": errors.total(),
        "errors": errors.most_common(_ERRORS),
        "more_errors": max(0, len(errors) - _ERRORS),
        "notices": notices(records),
        "is_training": run.is_training,
        "duration": duration(last.seconds) if last is not None and last.seconds is not None else None,
        "tiles": tiles(run.summary, run.metrics, groups),
        "groups": groups,
        "tables": tables(run.summary),
        "config": flatten(run.config),
    }


def _data(run: RunReader) -> dict[str, str]:
    """Return the data that each environment used, as far as the configuration states it."""
    if run.is_training:
        env = run.config.get("env")
        if not isinstance(env, dict) or "data" not in env or not str(env.get("id")).startswith("EMPG/"):
            return {}
        return {str(env["id"]): data_name(env["data"])}
    found = run.config.get("environments")
    entries = found.values() if isinstance(found, dict) else ()
    return {str(entry.get("env_id")): str(entry["data"]) for entry in entries if isinstance(entry, dict) and entry.get("data")}


def _prices(run: RunReader) -> Prices | None:
    prices = run.config.get("prices")
    try:
        return Prices(**prices) if isinstance(prices, dict) else None
    except (TypeError, ConfigError):
        return None


def _method(summary: dict[str, Any]) -> str:
    """Return what was trained in words, as far as the summary states it."""
    algorithm = summary.get("algorithm")
    name = algorithm.get("advantage") if isinstance(algorithm, dict) else None
    parameters, device = summary.get("parameters"), summary.get("device")
    parts = [
        f"Method {name}" if name else "",
        f"{parameters:,} parameters" if isinstance(parameters, int) else "",
        f"on {device}" if device else "",
    ]
    return ", ".join(filter(None, parts))
