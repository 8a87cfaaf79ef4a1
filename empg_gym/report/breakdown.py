"""Success by environment, split, phase and task type, counted from the episodes themselves.

An episode that failed by an error of the environment or of the agent's endpoint counts in `errors` and in no rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from empg_gym.scoring.intervals import pass_at_k, share_interval
from empg_gym.scoring.prices import Prices


@dataclass(slots=True)
class Group:
    """Episodes that share environment, split, phase and perhaps task type."""

    name: str
    level: int
    """0 a whole group, 1 a task type within the group above it."""
    episodes: int = 0
    errors: int = 0
    unfinished: int = 0
    successes: int = 0
    tasks: dict[str, list[bool]] = field(default_factory=dict)
    """Outcomes of each task; repeats of a task are no independent evidence."""
    scores: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    invalid: int = 0
    """Steps whose action could not be carried out."""
    prompt_tokens: int = 0
    """As billed, those of failed episodes included, as all tokens here."""
    generated_tokens: int = 0
    entropies: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Mean step entropies of successful and of failed episodes, nats."""

    @property
    def judged(self) -> int:
        """Episodes that enter a rate."""
        return self.episodes - self.errors - self.unfinished

    @property
    def rate(self) -> float | None:
        """Share of successes."""
        return self.successes / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the rate."""
        return share_interval(list(self.tasks.values())) if self.judged else None

    @property
    def score(self) -> float | None:
        """Mean score."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def mean_steps(self) -> float | None:
        """Mean number of steps."""
        return sum(self.steps) / len(self.steps) if self.steps else None

    @property
    def invalid_share(self) -> float | None:
        """Share of the steps whose action could not be carried out."""
        return self.invalid / sum(self.steps) if sum(self.steps) else None

    @property
    def tokens(self) -> int:
        """Tokens of all prompts and responses, as far as they are known."""
        return self.prompt_tokens + self.generated_tokens

    def pass_at(self, k: int) -> float | None:
        """Chance that one of `k` episodes of a task succeeds, over the tasks that have as many."""
        enough = [outcomes for outcomes in self.tasks.values() if len(outcomes) >= k]
        return sum(pass_at_k(len(outcomes), sum(outcomes), k) for outcomes in enough) / len(enough) if enough else None

    def cost(self, prices: Prices) -> float:
        """Price of the tokens."""
        return (self.prompt_tokens * prices.prompt + self.generated_tokens * prices.completion) / 1e6

    def entropy(self, failed: bool) -> float | None:
        """Mean of the step entropies of successful or of failed episodes."""
        values = self.entropies[failed]
        return sum(values) / len(values) if values else None

    def add(self, row: dict[str, Any]) -> None:
        """Count one index row."""
        self.episodes += 1
        self.prompt_tokens += row["prompt"]
        self.generated_tokens += row["tokens"]
        if row["outcome"] == 2:
            self.errors += 1
            return
        if row["outcome"] == 3:
            self.unfinished += 1
            return
        self.successes += row["outcome"] == 0
        self.tasks.setdefault(row["task"], []).append(row["outcome"] == 0)
        self.scores.append(row["score"] or 0.0)
        self.steps.append(row["steps"])
        self.invalid += row["invalid"]
        if row["entropy"] is not None:
            self.entropies[row["outcome"]].append(row["entropy"])


def break_down(rows: Iterable[dict[str, Any]]) -> list[Group]:
    """Return the groups in order, each followed by its task types where it has several."""
    rows = list(rows)
    named = [name for name in ("env", "agent", "phase", "split") if len({row[name] for row in rows}) > 1]
    groups: dict[tuple[str, ...], Group] = {}
    kinds: dict[tuple[str, ...], dict[str, Group]] = {}
    for row in rows:
        key = tuple(row[name] for name in named)
        title = " · ".join(_short(part) for part in key if part) or (_short(row["env"]) + (f" · {row['split']}" if row["split"] else ""))
        groups.setdefault(key, Group(title, 0)).add(row)
        if row["type"]:
            kinds.setdefault(key, {}).setdefault(row["type"], Group(row["type"], 1)).add(row)
    listed: list[Group] = []
    for key in sorted(groups):
        listed.append(groups[key])
        within = kinds.get(key, {})
        if len(within) > 1:
            listed.extend(within[kind] for kind in sorted(within))
    return listed


def histogram(step_entropies: list[tuple[float, int]], bins: int = 30) -> dict[str, Any] | None:
    """Return shares of step entropies per bin, of successful and of failed episodes; None where no step has an entropy."""
    if not step_entropies:
        return None
    values = np.array([value for value, _ in step_entropies])
    results = np.array([result for _, result in step_entropies])
    top = max(float(np.quantile(values, 0.995)), 1e-3)
    edges = np.linspace(0.0, top, bins + 1)
    series = []
    for name, code in (("successful episodes", 0), ("failed episodes", 1)):
        chosen = np.minimum(values[results == code], top)
        if len(chosen):
            counts, _ = np.histogram(chosen, edges)
            series.append({"name": name, "steps": len(chosen), "shares": [round(float(v), 5) for v in counts / len(chosen)]})
    return {"edges": [round(float(edge), 5) for edge in edges], "series": series} if series else None


def _short(name: str) -> str:
    return name.removeprefix("EMPG/").removesuffix("-v0")
