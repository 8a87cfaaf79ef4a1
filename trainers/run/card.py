"""The model card of a checkpoint: `README.md` with the metadata of the Hugging Face Hub, written from what the run knows.

Rules:
    - Results are those of the run's evaluations, with their 95 % intervals, and name the data, the split and the task panel.
    - Nothing secret: the configuration is the redacted one, and paths of this machine are left to it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import empg_gym
from empg_gym.data_name import data_name, with_data
from empg_gym.registration import creator_parameters
from empg_gym.scoring.format import MISSING, percent, with_interval
from empg_gym.trainers.config.file import to_toml
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.checkpoint import TrainerState
from empg_gym.trainers.run.evaluation import EvaluationResult

_USE = (
    "Inside the run's folder, the evaluation uses the environment options, the dialogue and the limits of the training. The folder is also "
    "a plain model of `transformers`"
)


def model_card(config: TrainConfig, state: TrainerState, entropies: Mapping[str, float]) -> str:
    """Return the text of a card.

    Args:
        config: of the run.
        state: of the run, with its evaluations.
        entropies: metrics `entropy/…` of the latest step, if known.
    """
    name = f"{config.env.id.rpartition('/')[2]}, {config.algorithm.advantage}"
    evaluations = _evaluations(state)
    parts = [
        _front_matter(config, evaluations, f"{name}, {state.name}"),
        f"# {name}: checkpoint {state.name}",
        _summary(config, state),
        "## Results",
        _results(evaluations) if evaluations else "The run has not been evaluated.",
        *([] if state.best is None else [_best(state.best)]),
        *(["## Entropy", _entropies(entropies)] if entropies else []),
        "## Use",
        "```bash\nempg-gym eval --env " + config.env.id + " --agent checkpoint:PATH_OF_THIS_FOLDER\n```",
        _USE + ("." if config.model.lora is None else " if the adapter was merged; else see `adapter/`."),
        "## Reproduce",
        "Write this configuration to `run.toml`; equal seeds give equal runs on the CPU.",
        "```bash\nempg-gym train run.toml --out runs/again\n```",
        f"```toml\n{to_toml(config)}```",
        f"Written by EMPG Gym {empg_gym.__version__} under Python {platform.python_version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def _evaluations(state: TrainerState) -> list[tuple[str, list[EvaluationResult]]]:
    """Return the evaluations before reinforcement and the latest, by title."""
    found = []
    if before := state.evaluations.get("before"):
        found.append(("before reinforcement", before))
    if state.latest is not None and state.latest["step"] > 0:
        found.append((f"after {state.latest['step']} steps", state.latest["results"]))
    return [(title, [EvaluationResult.from_json(item) for item in results]) for title, results in found]


def _front_matter(config: TrainConfig, evaluations: Sequence[tuple[str, list[EvaluationResult]]], name: str) -> str:
    base = config.model.name
    tags = ["empg-gym", "reinforcement-learning", "agents", config.algorithm.advantage]
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    if base is not None and not Path(base).expanduser().exists():
        relation = "finetune" if config.model.lora is None else "adapter"
        lines += [f"base_model: {json.dumps(base)}", f"base_model_relation: {relation}"]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in tags)]
    results = evaluations[-1][1] if evaluations else []
    shown = [
        (item, kind, value) for item in results for kind, value in (("success", item.success), ("score", item.score)) if value is not None
    ]
    if shown:
        lines += ["model-index:", f"- name: {json.dumps(name)}", "  results:"]
    for item, kind, value in shown:
        lines += [
            "  - task:",
            "      type: reinforcement-learning",
            "    dataset:",
            f"      name: {json.dumps(_data(config, item))}",
            f"      type: {json.dumps(config.env.id)}",
            f"      split: {json.dumps(item.split)}",
            "    metrics:",
            f"    - type: {kind}",
            f"      value: {value:.4f}",
        ]
    return "\n".join([*lines, "---"])


def _data(config: TrainConfig, result: EvaluationResult) -> str:
    return _named(config) + (f", panel {result.panel['name']}" if result.panel else "")


def _named(config: TrainConfig) -> str:
    """Return the environment with its data, if it takes any."""
    takes_data = "data" in creator_parameters(config.env.recipe().env_id)
    return with_data(config.env.id, data_name(config.env.data) if takes_data else None)


def _summary(config: TrainConfig, state: TrainerState) -> str:
    model, rl = config.model, config.rl
    base = f"from `{model.name}`" if model.name else "from scratch"
    base += " with LoRA adapters" if model.lora else ""
    warm = config.warmstart
    source = "recorded episodes" if warm.trajectories else "episodes of the environment's expert"
    begin = f"{warm.steps} supervised steps on {source}, then " if warm.steps else ""
    options = ", ".join(f"{key} = {value!r}" for key, value in config.algorithm.advantage_options.items())
    taken = state.step if state.phase == "rl" else 0
    advantage = f"`{config.algorithm.advantage}`" + (f" ({options})" if options else "")
    return (
        f"An agent for {_named(config)}, trained {base}: {begin}{taken} of {rl.steps} steps of "
        f"reinforcement learning with the advantage {advantage}, the policy loss `{config.algorithm.policy_loss}` and "
        f"{rl.tasks_per_step} x {rl.repeats} episodes per step; seed {config.run.seed}."
    )


def _results(evaluations: Sequence[tuple[str, list[EvaluationResult]]]) -> str:
    rows = [
        "| evaluation | split | panel | tasks | errors | success % [95 %] | score [95 %] |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, results in evaluations:
        for item in results:
            panel = MISSING if item.panel is None else f"{item.panel['name']} ({item.panel['fingerprint']})"
            success = with_interval(item.success, _bounds(item.success_low, item.success_high))
            score = with_interval(item.score, _bounds(item.score_low, item.score_high), 3, percent=False)
            rows.append(f"| {title} | {item.split} | {panel} | {item.tasks} | {item.errors} | {success} | {score} |")
    return "\n".join(rows)


def _bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _best(best: Mapping[str, Any]) -> str:
    return (
        f"Best checkpoint so far: `{best['checkpoint']}`, success {percent(best['success'])}. It was chosen on these tasks, so this value "
        "is biased upwards."
    )


def _entropies(entropies: Mapping[str, float]) -> str:
    rows = [f"| {name.removeprefix('entropy/').replace('_', ' ')} | {value:.4f} |" for name, value in sorted(entropies.items())]
    return "\n".join(["| of the latest step, in nats | |", "|---|---|", *rows])
