"""The page of one run: the numbers and tables of its overview, which are rendered into the page, and its curves."""

from __future__ import annotations

from typing import Any

from empg_gym.data_name import data_name, with_data
from empg_gym.errors import ConfigError
from empg_gym.report.before_after import changes
from empg_gym.report.breakdown import break_down
from empg_gym.report.cells import short_env
from empg_gym.report.episodes import EpisodeStore
from empg_gym.report.histogram import histogram
from empg_gym.report.metrics import layout
from empg_gym.report.phases import in_order
from empg_gym.report.run_reader import RunReader
from empg_gym.report.tables import flatten, tables
from empg_gym.report.tiles import tiles
from empg_gym.report.tokens import token_texts
from empg_gym.scoring.failures import error_messages
from empg_gym.scoring.format import duration
from empg_gym.scoring.notices import notices
from empg_gym.scoring.prices import Prices

_ERRORS = 5
"""Error messages that the overview shows."""


class RunReport:
    """The page of one run."""

    def __init__(self, run: RunReader) -> None:
        self.run = run

    @property
    def episodes(self) -> EpisodeStore:
        """The recorded episodes."""
        return self.run.episodes

    def values(self) -> dict[str, Any]:
        """Return the values of the templates."""
        return {"parts": {"head": "headline.jinja", "tables": "tables.jinja"}, **_values(self.run)}

    def curves(self) -> dict[str, Any]:
        """Return every metric as a curve, and the distribution of step entropies."""
        entropies = histogram(self.run.episodes.step_entropies, by_phase=self.run.is_training)
        return {"charts": layout(self.run.metrics), "histogram": entropies}

    def vocabularies(self) -> dict[str, dict[str, str]]:
        """Return the text of each generated token."""
        return {self.run.name: vocabulary(self.run)}


def vocabulary(run: RunReader) -> dict[str, str]:
    """Return the text of each token id that a run's episodes have."""
    return {str(token): text for token, text in token_texts(run.folder, run.episodes.token_ids.get(run.name, ())).items()}


def _values(run: RunReader) -> dict[str, Any]:
    rows, records = run.episodes.rows, run.episodes.records
    errors = error_messages(records)
    data = _data(run)
    groups = break_down(rows, records, training=run.is_training)
    last = run.metrics[-1] if run.metrics else None
    return {
        "title": run.title,
        "kind": "Training run" if run.is_training else "Evaluation",
        "environments": [with_data(short_env(env), data.get(env)) for env in sorted({row["env"] for row in rows})],
        "method": _method(run.summary),
        "changes": changes(run.summary, run.outcomes),
        "repeats": 1 if run.is_training else max((record.repeat + 1 for record in records), default=1),
        "with_tokens": any(group.tokens.total for group in groups),
        "prices": _prices(run),
        "with_entropy": any(group.entropy(success) is not None for group in groups for success in (True, False)),
        "agents": sorted({row["agent"] for row in rows if row["agent"]}),
        "episodes": len(rows),
        "failed": errors.total(),
        "errors": errors.most_common(_ERRORS),
        "more_errors": max(0, len(errors) - _ERRORS),
        "notices": _notices(run),
        "is_training": run.is_training,
        "duration": duration(last.seconds) if last is not None and last.seconds is not None else None,
        # A training run's episodes are samples of several policies: their rates are not results.
        "tiles": tiles(run.summary, run.metrics, () if run.is_training else groups),
        "groups": groups,
        "tables": tables(run.summary),
        "config": flatten(run.config),
    }


def _notices(run: RunReader) -> list[str]:
    """Return what a reader should know; of a training run for each phase of its samples."""
    rows, records = run.episodes.rows, run.episodes.records
    if not run.is_training:
        return notices(records)
    found = []
    for phase in sorted({row["phase"] for row in rows}, key=in_order):
        own = [record for row, record in zip(rows, records, strict=True) if row["phase"] == phase]
        found += [f"{phase}: {notice}" if phase else notice for notice in notices(own)]
    return found


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
