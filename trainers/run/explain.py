"""`empg-gym train --explain`: the stages of a configuration, their options, and the formula in use.

Rules:
    - Nothing is described twice: summaries are the first sentences of the functions' docstrings, and formulas are the indented blocks of
      the docstrings of their modules.
    - An option that names another advantage (`base`) is followed, so that a modulation shows its base too.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

from empg_gym.trainers.algorithms import ADVANTAGES
from empg_gym.trainers.config.sections import RLConfig, TrainConfig
from empg_gym.trainers.registry import Bound
from empg_gym.trainers.run.stages import Stages, build_stages


def explain(config: TrainConfig) -> str:
    """Return the stages of a training step in their order, and the formulas in use.

    Raises:
        ConfigError: an unknown stage, an option that it lacks, or a value that it can't use.
    """
    stages = build_stages(config)
    advantages = list(_with_bases(stages.advantage))
    lines = [f"Stages of a training step ({config.rl.tasks_per_step} groups of {config.rl.repeats} episodes)", ""]
    for number, stage in enumerate(stages, 1):
        lines += [f"{number:2}  {line}" if index == 0 else f"    {line}" for index, line in enumerate(_stage(stage))]
        if stage is stages.advantage:
            lines += [f"    {line}" for base in advantages[1:] for line in _stage(base)]
    lines += ["", "Formula", "", "inputs", *_inputs(config)]
    for part in (*advantages, stages.policy_loss):
        equations = _equations(part) or ["    (its docstring and that of its module have no indented equation)"]
        lines += ["", f"{part.kind} {part.name}", *equations]
    lines += ["", "loss", *_loss(config.rl, stages)]
    return "\n".join(lines) + "\n"


def _stage(stage: Bound) -> list[str]:
    options = ", ".join(f"{name} = {value!r}" for name, value in stage.effective_options().items())
    return [f"{stage.kind}: {stage.name}", f"    {_summary(stage)}", *([f"    {options}"] if options else [])]


def _with_bases(advantage: Bound) -> Iterator[Bound]:
    """Yield an advantage, then what it modulates."""
    yield advantage
    options = advantage.effective_options()
    base = options.get("base")
    if isinstance(base, str) and (":" in base or base in ADVANTAGES):
        yield from _with_bases(ADVANTAGES.bind(base, {**(options.get("base_options") or {})}))


def _summary(stage: Bound) -> str:
    """Return the first sentence of a function's docstring."""
    text = inspect.getdoc(stage.function) or "(no docstring)"
    return " ".join(text.split("\n\n", 1)[0].split())


def _equations(stage: Bound) -> list[str]:
    """Return the indented paragraphs that are not lists, of the docstring of the module or else of the function."""
    function = inspect.unwrap(stage.function)
    for text in (sys.modules[function.__module__].__doc__, function.__doc__):
        lines: list[str] = []
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "")):
            if paragraph.startswith("    ") and not re.match(r"\s+(- |\d+\. )", paragraph):
                lines += paragraph.split("\n")
        if lines:
            return lines
    return []


def _inputs(config: TrainConfig) -> list[str]:
    """Return the reward, the step penalty and the equality of states."""
    rl, algorithm = config.rl, config.algorithm
    reward = " + ".join([f"{rl.reward_scale:g} {rl.reward}", *(stage.name for stage in algorithm.shapers)])
    equal = {"state": "the environment's exact key", "observation": "the observation text"}[algorithm.state_key]
    return [
        f"    R = {reward}",
        f"    p_t = {rl.invalid_action_penalty:g} where the action of step t is invalid, else 0",
        f"    states are equal by {equal} (algorithm.state_key)",
    ]


def _loss(rl: RLConfig, stages: Stages) -> list[str]:
    """Return the composed loss of a mini-batch."""
    if stages.updater.name != "minibatches":
        return [f"    composed by the updater {stages.updater.name}"]
    where = [f"w     {_summary(stages.aggregation).removeprefix('Return ')} (rl.aggregation)"]
    if rl.rollout_correction == "tis":
        terms = ["sum w v L"]
        where.append(f"v     min(pi_train / pi_rollout, {rl.rollout_correction_cap:g}), without gradient (rl.rollout_correction)")
    else:
        terms = ["sum w L"]
    if rl.kl_coef:
        terms.append(f"+ {rl.kl_coef:g} sum w k3")
        where.append("k3    estimate of the KL divergence to the policy at the beginning of reinforcement learning (rl.kl_coef)")
    if rl.entropy_coef:
        terms.append(f"- {rl.entropy_coef:g} sum w H")
        where.append("H     entropy of the policy at the token (rl.entropy_coef)")
    updates = f"{rl.minibatches} per pass over the batch (rl.minibatches), rl.epochs = {rl.epochs}"
    return [f"    {' '.join(terms)}", f"    sums over the generated tokens of a mini-batch; {updates}", *(f"    {line}" for line in where)]
