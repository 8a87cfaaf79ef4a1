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

import jinja2

from empg_gym.report.episodes import pack
from empg_gym.report.histogram import histogram
from empg_gym.report.metrics import layout
from empg_gym.report.overview import overview
from empg_gym.report.run_reader import RunReader
from empg_gym.report.tokens import token_texts
from empg_gym.scoring.format import compact, decimal, percent

_SCRIPTS = ("dom", "source", "charts", "line_chart", "distribution", "overview", "episodes", "groups", "tokens", "episode", "app")
"""In the order of their dependencies; they share one scope."""


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
    values, templates = overview(run), _templates()
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
                "histogram": histogram(run.episodes.step_entropies, by_phase=run.is_training),
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
        **overview(run),
        "style": _asset("report.css"),
        "script": code,
        "digest": digest,
        "live": live,
        "blocks": () if live else blocks(run),
    }
    return _templates().get_template("report.jinja").generate(values)
