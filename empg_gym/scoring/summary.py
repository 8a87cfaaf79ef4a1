"""From episodes to the numbers of `summary.json`.

Rules:
    - `episodes` counts all that were run, `errors` those that failed, `scored` the others. Rates, means and intervals are over the scored
      ones: an error is neither a failure of the agent nor left unmentioned.
    - An episode that hit a limit (steps, tokens, seconds) or was left by the agent is scored as it stands.
    - Without a scored episode the rates and intervals are null.
"""

from __future__ import annotations

import contextlib
import math
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import empg_gym
from empg_gym.errors import ConfigError
from empg_gym.scoring.intervals import mean, mean_interval, pass_at_k, share_interval
from empg_gym.scoring.record import EpisodeRecord

PRICES_EXPECTED = "prices are two numbers of at least 0, of a million prompt and completion tokens"
_MESSAGE = 500
"""Characters of an error's text that are kept."""
_MESSAGES = 10
"""Different texts of errors that are kept."""
_PACKAGES = ("gymnasium", "numpy", "httpx")


@dataclass(frozen=True, slots=True)
class Summary:
    """What an evaluation found; `data` is the content of `summary.json`."""

    data: dict[str, Any]
    records: tuple[EpisodeRecord, ...] = field(default=(), repr=False)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Environment to its numbers: `results["EMPG/ALFWorld-v0"]["success_rate"]`."""
        results: dict[str, dict[str, Any]] = self.data["results"]
        return results

    @property
    def errors(self) -> int:
        """Episodes that failed, over all environments."""
        return sum(int(entry["errors"]) for entry in self.results.values())


@dataclass(frozen=True, slots=True)
class Prices:
    """Price of a million tokens, in any one currency.

    Raises:
        ConfigError: not two numbers of at least 0.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for price in (self.prompt, self.completion):
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise ConfigError(f"{PRICES_EXPECTED}; not {self.prompt!r} and {self.completion!r}")

    @classmethod
    def of(cls, prices: Prices | Sequence[float] | None) -> Prices | None:
        """Return the prices that a pair of numbers stands for; None is none.

        Raises:
            ConfigError: not two numbers of at least 0.
        """
        if prices is None or isinstance(prices, Prices):
            return prices
        try:
            prompt, completion = prices
        except (TypeError, ValueError):
            raise ConfigError(f"{PRICES_EXPECTED}; not {prices!r}") from None
        return cls(prompt, completion)


def summarise(records: Sequence[EpisodeRecord], *, prices: Prices | None = None) -> dict[str, Any]:
    """Return the numbers of one environment."""
    return {
        **_headline(records),
        "scored": sum(not record.failed for record in records),
        "tasks": len({record.task for record in records}),
        "pass_at_k": _pass_at_k(records),
        "reward": _spread(records, lambda record: record.reward),
        "steps": _spread(records, lambda record: float(record.steps)),
        "by_task_type": _groups(records, lambda record: record.task_type),
        "by_domain": _groups(records, lambda record: record.domain),
        "invalid_actions": _invalid(records),
        "tokens": _tokens(records),
        "cost": _cost(records, prices),
        "seconds": _seconds(records),
        "entropy": _entropy(records),
        "stop_reasons": dict(sorted(Counter(record.stop_reason for record in records).items())),
        "errors_by_kind": dict(sorted(Counter(record.error_kind for record in records if record.failed).items())),
        "error_messages": _messages(records),
        "retried": sum(record.attempts > 1 for record in records),
    }


def by_task(records: Iterable[EpisodeRecord], value: Callable[[EpisodeRecord], float]) -> list[list[float]]:
    """Return the values of the scored episodes, one list a task."""
    tasks: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if not record.failed:
            tasks[record.task].append(value(record))
    return list(tasks.values())


def _headline(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    successes = by_task(records, lambda record: float(record.success))
    scores = by_task(records, lambda record: record.score)
    return {
        "episodes": len(records),
        "errors": sum(record.failed for record in records),
        "success_rate": mean(successes) if successes else None,
        "success_interval": list(share_interval([[bool(value) for value in task] for task in successes])) if successes else None,
        "score_mean": mean(scores) if scores else None,
        "score_interval": list(mean_interval(scores, unit=True) or ()) if scores else None,
    }


def _groups(records: Sequence[EpisodeRecord], name: Callable[[EpisodeRecord], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        if name(record):
            groups[name(record)].append(record)
    return {group: _headline(members) for group, members in sorted(groups.items())}


def _pass_at_k(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    """Return k to pass@k, averaged over the tasks that have at least k scored episodes."""
    tasks = by_task(records, lambda record: float(record.success))
    estimates = {}
    for k in range(1, max((len(task) for task in tasks), default=0) + 1):
        enough = [task for task in tasks if len(task) >= k]
        estimates[str(k)] = sum(pass_at_k(len(task), int(sum(task)), k) for task in enough) / len(enough)
    return estimates


def _spread(records: Sequence[EpisodeRecord], value: Callable[[EpisodeRecord], float]) -> dict[str, Any] | None:
    tasks = by_task(records, value)
    if not tasks:
        return None
    interval = mean_interval(tasks)
    return {"mean": mean(tasks), "interval": None if interval is None else list(interval)}


def _invalid(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    scored = [record for record in records if not record.failed]
    steps = sum(record.steps for record in scored)
    invalid = sum(record.invalid for record in scored)
    return {"count": invalid, "rate": invalid / steps if steps else None, "malformed": sum(record.malformed for record in scored)}


def _tokens(records: Sequence[EpisodeRecord]) -> dict[str, int | None]:
    """Return tokens over all episodes, failed ones included: they were paid for."""
    return {
        "prompt": _total(record.prompt_tokens for record in records),
        "completion": _total(record.completion_tokens for record in records),
        "uncounted_steps": sum(record.uncounted_steps for record in records),
    }


def _messages(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Return what the failed episodes say, the most frequent first."""
    messages = Counter((record.error or "unknown")[:_MESSAGE] for record in records if record.failed)
    return [{"message": message, "episodes": count} for message, count in messages.most_common(_MESSAGES)]


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _cost(records: Sequence[EpisodeRecord], prices: Prices | None) -> dict[str, float] | None:
    if prices is None:
        return None
    tokens = _tokens(records)
    total = ((tokens["prompt"] or 0) * prices.prompt + (tokens["completion"] or 0) * prices.completion) / 1e6
    return {"total": total, "per_episode": total / len(records) if records else 0.0}


def _seconds(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    model, env = sum(record.model_seconds for record in records), sum(record.env_seconds for record in records)
    number = max(1, len(records))
    return {"model": model, "environment": env, "model_per_episode": model / number, "environment_per_episode": env / number}


def _entropy(records: Sequence[EpisodeRecord]) -> dict[str, Any] | None:
    known = [record for record in records if record.entropy is not None and not record.failed]
    if not known:
        return None
    return {
        "mean": sum(record.entropy or 0.0 for record in known) / len(known),
        "is_bound": any(record.entropy_is_bound for record in known),
    }


def merge(facts: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return one environment's entry: its numbers first, then what they were measured on."""
    return {**numbers, **{name: value for name, value in facts.items() if name not in numbers}}


def versions() -> dict[str, str]:
    """Return the versions of what an evaluation runs on."""
    found = {"empg_gym": empg_gym.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
