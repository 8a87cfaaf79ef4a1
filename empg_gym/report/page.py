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
from typing import Any, Protocol

import jinja2

from empg_gym.report.episodes import EpisodeStore, pack
from empg_gym.scoring.format import compact, decimal, percent

_SCRIPTS = (
    "dom",
    "source",
    "charts",
    "line_chart",
    "distribution",
    "overview",
    "search",
    "episodes",
    "groups",
    "tasks",
    "tokens",
    "messages",
    "episode",
    "app",
)
"""In the order of their dependencies; they share one scope."""


@lru_cache(maxsize=1)
def templates() -> jinja2.Environment:
    """Return the templates of this package; they escape every text."""
    loader = jinja2.PackageLoader("empg_gym.report", "assets")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    environment.filters["compact"] = compact
    environment.filters["decimal"] = decimal
    return environment


def asset(name: str) -> str:
    """Return a file of this package's assets."""
    return files("empg_gym.report.assets").joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """Return the page's script."""
    parts = "\n".join(asset(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


class Report(Protocol):
    """What a page shows."""

    @property
    def episodes(self) -> EpisodeStore:
        """The episodes that can be read."""

    def values(self) -> dict[str, Any]:
        """Return the values of the templates, among them `title`, `kind` and `parts`: the templates of the overview, by place."""

    def curves(self) -> dict[str, Any]:
        """Return what the script draws on the overview: `charts` and `histogram`."""

    def vocabularies(self) -> dict[str, dict[str, str]]:
        """Return run to token id to text."""


def overview_html(report: Report) -> str:
    """Return the parts of the overview that are rendered here: headline numbers and tables."""
    values = report.values()
    return "".join(templates().get_template(values["parts"][place]).render(values) for place in ("head", "tables"))


def blocks(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the page's data as (name, packed JSON): the overview, the table, the vocabulary and every chunk of episodes."""
    for name in ("overview", "index", "vocabulary"):
        yield name, block(report, name)
    for number in range(report.episodes.num_chunks):
        yield f"chunk-{number}", report.episodes.chunk(number)


def block(report: Report, name: str) -> str:
    """Return one block of data.

    Raises:
        KeyError: the block does not exist.
    """
    episodes = report.episodes
    if name == "overview":
        return pack({**report.curves(), "entropyTop": episodes.entropy_top(), "stepTop": episodes.step_entropy_top()})
    if name == "index":
        return pack(episodes.index())
    if name == "vocabulary":
        return pack(report.vocabularies())
    kind, _, number = name.partition("-")
    if kind == "chunk" and number.isdecimal():
        try:
            return episodes.chunk(int(number))
        except IndexError:
            raise KeyError(name) from None
    raise KeyError(name)


def page(report: Report, *, live: bool = False) -> Iterator[str]:
    """Yield the page in pieces; a live page contains no data and requests it from its server."""
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    values = {
        **report.values(),
        "episodes": len(report.episodes.rows),
        "style": asset("report.css"),
        "script": code,
        "digest": digest,
        "live": live,
        "blocks": () if live else blocks(report),
    }
    return templates().get_template("report.jinja").generate(values)
