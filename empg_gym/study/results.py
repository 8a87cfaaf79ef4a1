"""The numbers of a study, from its run folders; unfinished runs are left out, runs with another configuration are refused.

Rules:
    - A difference is to the reference, the first method, of the same seed: its mean over the tasks that both have scored. The interval is
      Student's over seeds; with one seed it is that over tasks, which says how sure the difference between two policies is, not between two
      methods. Intervals of shares end at 0 and 1, those of their differences at -1 and 1.
    - The training curve is the success of all episodes of a step. Its area is the mean over the steps. The step at which it reaches the
      threshold is the first one at which the mean of the latest `WINDOW` steps does.
    - The late drop is the best mean of `WINDOW` steps minus the last one: 0 for a run that ends at its best.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError
from empg_gym.runs.folder import OUTCOMES, SUMMARY
from empg_gym.runs.json_file import read_json
from empg_gym.scoring.intervals import difference_interval, mean_interval
from empg_gym.study.plan import Plan

WINDOW = 5
"""Steps of training whose mean is compared with the threshold."""
CURVES = {
    "train/success": "success in training",
    "entropy/token_mean": "entropy of a token, in nats",
    "loss/kl_old": "KL divergence of an update",
    "train/valid_action": "valid actions in training",
}
"""Metrics of the training steps that the page draws."""
SHARE, DIFFERENCE, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
"""Limits of numbers, and of their intervals."""
_HINT = "remove this run's folder and start the study again"


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run."""

    summary: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    """Lines of the reinforcement steps, in order, the one before the first included."""
    outcomes: Mapping[str, Mapping[str, float]]
    """Split to task to success in the last evaluation."""

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Return (step, value) of a metric."""
        return [(line["step"], line[name]) for line in self.metrics if name in line]

    @property
    def smoothed(self) -> list[tuple[int, float]]:
        """Training success, the mean of the latest `WINDOW` steps at each step that has as many."""
        points = self.curve("train/success")
        if not points:
            return []
        return [
            (points[end - 1][0], statistics.fmean(value for _, value in points[end - WINDOW : end]))
            for end in range(min(WINDOW, len(points)), len(points) + 1)
        ]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number over seeds."""

    mean: float
    interval: tuple[float, float] | None
    """95 %; None with one seed, but for a difference."""
    values: dict[int, float]
    """By seed."""
    unit: str = "seeds"
    """What the interval is over: "seeds", or "tasks" for a difference with one seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """The numbers of a method in one environment."""

    method: str
    seeds: list[int]
    before: dict[str, Estimate] = field(default_factory=dict)
    """Success by split."""
    after: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)
    """Paired difference of `after` to the reference, by split; empty for the reference."""
    area: Estimate | None = None
    """Mean of training success over the steps."""
    area_difference: Estimate | None = None
    steps_to_threshold: dict[int, int | None] = field(default_factory=dict)
    """By seed; None where the threshold was not reached."""
    late_drop: Estimate | None = None
    kl_max: Estimate | None = None
    cpu_seconds: Estimate | None = None
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    """Metric to [step, mean over seeds, lowest, highest]; "eval/SPLIT/success" are the evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentResult:
    """The numbers of an environment."""

    environment: str
    splits: list[str]
    panels: dict[str, dict[str, str]]
    """Name and fingerprint of the task panel, by split."""
    tasks: dict[str, int]
    """Tasks of an evaluation, by split."""
    start_weights: dict[int, str]
    """Hash of the weights that all methods start from, by seed."""
    methods: list[MethodResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """The numbers of a study."""

    title: str
    reference: str
    threshold: float
    planned: int
    finished: int
    environments: list[EnvironmentResult]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def study_result(plan: Plan) -> StudyResult:
    """Return the numbers of the finished runs of a plan.

    Raises:
        DataError: a file of a finished run is damaged, or the methods of a seed did not begin with the same weights.
        OutputExistsError: a folder holds a run with another configuration.
    """
    for run in plan.runs:
        run.check_folder()
    runs = [run for run in plan.runs if run.method is not None]
    return StudyResult(
        title=plan.title,
        reference=next(iter(plan.study.methods)),
        threshold=plan.study.study.threshold,
        planned=len(runs),
        finished=sum(run.is_finished for run in runs),
        environments=[_environment(plan, name) for name in plan.study.environments],
    )


def _environment(plan: Plan, environment: str) -> EnvironmentResult:
    found = {
        method: {run.seed: read_run(run.folder) for run in plan.of(environment, method) if run.is_finished} for method in plan.study.methods
    }
    last = [entry for runs in found.values() for run in runs.values() for entry in run.summary.get("after", [])]
    reference = found[next(iter(found))]
    return EnvironmentResult(
        environment=environment,
        splits=list(dict.fromkeys(entry["split"] for entry in last)),
        panels={entry["split"]: entry["panel"] for entry in last if entry.get("panel")},
        tasks={entry["split"]: entry["tasks"] for entry in last},
        start_weights=_start_weights(environment, found),
        methods=[_method(name, runs, reference, plan.study.study.threshold) for name, runs in found.items()],
    )


def _start_weights(environment: str, found: Mapping[str, Mapping[int, Finished]]) -> dict[int, str]:
    """Return the hash of the weights that the methods of a seed began with."""
    weights: dict[int, str] = {}
    for method, runs in found.items():
        for seed, run in runs.items():
            own = run.summary.get("start_weights", "")
            if weights.setdefault(seed, own) != own:
                raise DataError(
                    f"{environment}/{method}/{seed} began with the weights {own}, other methods of this seed with {weights[seed]}: their "
                    "warm start was made again in between; remove the seed's folders of all methods and start the study again"
                )
    return dict(sorted(weights.items()))


def read_run(folder: Path) -> Finished:
    """Read a finished run.

    Raises:
        DataError: a file is missing or damaged.
    """
    summary = read_json(folder / SUMMARY, hint=_HINT)
    evaluated = summary.get("after") or ()
    try:
        lines = [line for line in _lines(folder / "metrics.jsonl") if line["phase"] == "rl"]
        outcomes = {
            line["split"]: dict(zip(line["tasks"], map(float, line["success"]), strict=True))
            for line in (_lines(folder / OUTCOMES) if evaluated else ())
        }
        missing = [entry["split"] for entry in evaluated if entry["split"] not in outcomes]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the run in {folder} is damaged ({error}): {_HINT}") from None
    if missing:
        raise DataError(f"{folder / OUTCOMES} lacks the tasks of {', '.join(missing)}: {_HINT}")
    return Finished(summary, lines, outcomes)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _method(name: str, runs: Mapping[int, Finished], reference: Mapping[int, Finished], threshold: float) -> MethodResult:
    if not runs:
        return MethodResult(method=name, seeds=[])
    trained = {seed: run for seed, run in runs.items() if run.smoothed}
    paired = {} if runs is reference else {seed: (run, reference[seed]) for seed, run in runs.items() if seed in reference}
    both_trained = {seed: pair for seed, pair in paired.items() if all(run.smoothed for run in pair)}
    splits = [entry["split"] for entry in next(iter(runs.values())).summary.get("after", [])]
    return MethodResult(
        method=name,
        seeds=sorted(runs),
        before={split: _over(runs, partial(_success, when="before", split=split), SHARE) for split in splits},
        after={split: _over(runs, partial(_success, when="after", split=split), SHARE) for split in splits},
        difference={split: _difference(paired, split) for split in splits} if paired else {},
        area=_over(trained, _area, SHARE) if trained else None,
        area_difference=_over(both_trained, lambda pair: _area(pair[0]) - _area(pair[1]), DIFFERENCE) if both_trained else None,
        steps_to_threshold={
            seed: next((step for step, value in run.smoothed if value >= threshold), None) for seed, run in trained.items()
        },
        late_drop=_over(trained, lambda run: max(value for _, value in run.smoothed) - run.smoothed[-1][1], SHARE) if trained else None,
        kl_max=_over(trained, lambda run: max((value for _, value in run.curve("loss/kl_old")), default=0.0), POSITIVE)
        if trained
        else None,
        cpu_seconds=_over(runs, lambda run: float(run.summary.get("cpu_seconds", 0.0)), POSITIVE),
        curves={metric: points for metric in [*CURVES, *(f"eval/{split}/success" for split in splits)] if (points := _curve(runs, metric))},
    )


def _success(run: Finished, *, when: str, split: str) -> float:
    return float(next(entry["success"] for entry in run.summary[when] if entry["split"] == split))


def _area(run: Finished) -> float:
    return statistics.fmean(value for _, value in run.curve("train/success"))


def _over(items: Mapping[int, Any], value: Callable[[Any], float], limits: tuple[float, float]) -> Estimate:
    return _estimate({seed: value(item) for seed, item in sorted(items.items())}, limits)


def _estimate(values: dict[int, float], limits: tuple[float, float]) -> Estimate:
    bounds = mean_interval([[value] for value in values.values()])
    interval = None if bounds is None else (max(bounds.low, limits[0]), min(bounds.high, limits[1]))
    return Estimate(statistics.fmean(values.values()), interval, values)


def _difference(paired: Mapping[int, tuple[Finished, Finished]], split: str) -> Estimate:
    by_task = {
        seed: [ours.outcomes[split][task] - value for task, value in theirs.outcomes[split].items() if task in ours.outcomes[split]]
        for seed, (ours, theirs) in sorted(paired.items())
    }
    estimate = _estimate({seed: statistics.fmean(values) for seed, values in by_task.items()}, DIFFERENCE)
    if estimate.interval is not None:
        return estimate
    bounds = difference_interval(next(iter(by_task.values())))
    return Estimate(estimate.mean, (bounds.low, bounds.high), estimate.values, unit="tasks")


def _curve(runs: Mapping[int, Finished], metric: str) -> list[list[float]]:
    """Return [step, mean, lowest, highest] at the steps that all runs have."""
    curves = [dict(run.curve(metric)) for run in runs.values()]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    at = {step: [curve[step] for curve in curves] for step in shared}
    return [[step, statistics.fmean(values), min(values), max(values)] for step, values in at.items()]
