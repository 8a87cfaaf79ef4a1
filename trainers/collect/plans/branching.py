"""`branching`: AEPO's rollout (Dong et al. 2025, arXiv 2510.14545), which grows trees from uncertain steps.

    pre-monitoring   one episode per task is played first; with H_root the entropy of its first step, H_avg the mean of the later ones:
                     m = clamp(round(k sigmoid(beta (H_root - H_avg))), 1, k)                 episodes from the start, the first included
    branching        the other k - m episodes of the budget branch off at uncertain steps. At step t >= 1 of an episode
                     dH_t = H_t - H_root        P_t = (alpha + gamma dH_t) max(0, 1 - penalty l)        branch if P_t > threshold
                     l: consecutive steps before t on this path at which an episode branched off
    remainder        what is left of the budget when no step is left is played from the start

k is `rl.repeats`. H is the mean entropy of the first `monitor_tokens` generated tokens of a step under the policy that generates, over the
full vocabulary, in nats. A branch begins before the response of step t: it shares the steps 0..t-1 and answers the same message again.

Decided here, where the paper leaves room or the released code differs from it:
    - alpha is drawn uniformly from [0, 1) for each decision, as in the released code, whose authors report that branching on entropy alone
      collapses; `alpha` set to a number fixes it (the paper's formula).
    - Decisions are taken in the order of (step, episode), after the episodes have been played: the tree is a function of the seed, not of
      which episode is faster. At most one episode branches off a step.
    - A step that is shared is decided on once, where it was generated.
    - Both references, H_root and H_avg, are those of the task's own first episode in this batch. (Released: H_initial is never cleared
      and stays that of the first batch; H_avg includes the first step.)
    - l counts along a path and is 0 after a step without a branch. (Released: it counts per question, and is not reset in rounds without
      new inputs.)
    - The entropy is a mean over tokens of the full vocabulary. (Released: a sum over 20 tokens of top-10 terms.)
    - Every episode of the budget is played; none is a copy of another. (Released: missing ones are copies of the last.)
    - A generator that returns no entropies is refused. (Released: the entropy terms are silently off.)
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import numpy as np

from empg_gym.agent_env import EpisodePoint
from empg_gym.errors import ConfigError, TrainingError
from empg_gym.rollout import EpisodeSpec
from empg_gym.trainers.collect.plans.base import PLANS, Collection, PlanRequest
from empg_gym.trainers.collect.tasks import GroupSpec
from empg_gym.trajectory import Step, StopReason, Trajectory


@PLANS.register("branching")
async def branching(
    request: PlanRequest,
    *,
    initial: int | None = None,
    beta: float = 0.5,
    alpha: float | None = None,
    gamma: float = 0.2,
    penalty: float = 0.05,
    threshold: float = 0.5,
    monitor_tokens: int = 20,
) -> Collection:
    """Grow a tree of episodes for each task.

    Args:
        request: the training step; `repeats` is the budget k of a tree.
        initial: episodes from the start, m; None derives it by pre-monitoring.
        beta: how strongly the entropy gap moves m.
        alpha: constant part of the branching probability; None draws it for each decision.
        gamma: weight of the entropy increase.
        penalty: deduction per consecutive branch.
        threshold: of the branching probability.
        monitor_tokens: generated tokens of a step that are monitored.

    Raises:
        ConfigError: an option is out of range.
        TrainingError: the generator returns no entropies.
    """
    if initial is not None and not 1 <= initial <= request.repeats:
        raise ConfigError(f"branching expects initial between 1 and rl.repeats = {request.repeats}, not {initial}")
    if monitor_tokens < 1 or penalty < 0 or beta < 0 or gamma < 0 or (alpha is not None and not 0 <= alpha <= 1):
        raise ConfigError(
            "branching expects monitor_tokens >= 1, penalty, beta and gamma >= 0 and alpha within 0..1, "
            f"not {monitor_tokens}, {penalty}, {beta}, {gamma} and {alpha}"
        )
    rule = _Rule(beta=beta, alpha=alpha, gamma=gamma, penalty=penalty, threshold=threshold, monitor_tokens=monitor_tokens)
    trees = [_Tree(request, group, rule) for group in request.draw(0)]
    await asyncio.gather(*(tree.grow(initial) for tree in trees))
    episodes = [item for tree in trees for item in tree.episodes]
    branches = [item for item in episodes if item.parent is not None]
    metrics = {
        "collect/branches": float(len(branches)),
        "collect/from_start": len(episodes) / len(trees) - len(branches) / len(trees),
        "collect/branch_step": float(np.mean([item.branch_step for item in branches])) if branches else 0.0,
        "collect/shared_steps": float(sum(item.branch_step for item in branches)),
    }
    return Collection(trajectories=episodes, metrics=metrics)


class _Rule:
    """The numbers of the module docstring's formulas."""

    def __init__(self, *, beta: float, alpha: float | None, gamma: float, penalty: float, threshold: float, monitor_tokens: int) -> None:
        self.beta, self.alpha, self.gamma, self.penalty, self.threshold = beta, alpha, gamma, penalty, threshold
        self.monitor_tokens = monitor_tokens

    def entropy(self, step: Step) -> float | None:
        """Return H of a step; None where it generated nothing."""
        if step.response_token_ids is None or len(step.response_token_ids) == 0:
            return None
        if step.entropies is None:
            raise TrainingError(
                "the rollout plan 'branching' needs the entropy of every generated token, and the generator backend returns none; "
                "use the backend 'hf', or the plan 'groups'"
            )
        return float(np.mean(step.entropies[: self.monitor_tokens], dtype=np.float64))

    def episodes_from_start(self, first: Trajectory, budget: int) -> int:
        """Return m."""
        root, later = self.references(first)
        gap = root - float(np.mean(later)) if later else 0.0
        return min(max(round(budget / (1 + math.exp(-self.beta * gap))), 1), budget)

    def references(self, first: Trajectory) -> tuple[float, list[float]]:
        """Return H_root and the entropies of the later steps."""
        entropies = [self.entropy(step) for step in first.steps]
        known = [value for value in entropies[1:] if value is not None]
        return (entropies[0] or 0.0) if entropies else 0.0, known

    def branches(self, entropy: float, root: float, consecutive: int, rng: np.random.Generator) -> bool:
        """Decide on a step."""
        alpha = rng.random() if self.alpha is None else self.alpha
        probability = (alpha + self.gamma * (entropy - root)) * max(0.0, 1 - self.penalty * consecutive)
        return probability > self.threshold


class _Tree:
    """The episodes of one task."""

    def __init__(self, request: PlanRequest, group: GroupSpec, rule: _Rule) -> None:
        self.request, self.group, self.rule = request, group, rule
        self.rng = request.rng(group.group)
        self.episodes: list[Trajectory] = []
        self._branched: set[tuple[int, int]] = set()
        """(repeat, step) at which an episode branched off."""

    async def grow(self, initial: int | None) -> None:
        budget = self.request.repeats
        await self._play([self._spec()])
        first = self.episodes[0]
        from_start = initial or self.rule.episodes_from_start(first, budget)
        await self._play([self._spec(offset) for offset in range(from_start - 1)])
        root, _ = self.rule.references(first)
        step = 1
        while len(self.episodes) < budget and any(step < item.branch_step + len(item.steps) for item in self.episodes):
            chosen = self._sources(step, root)[: budget - len(self.episodes)]
            await self._play([self._spec(offset, await self.request.point(source, step)) for offset, source in enumerate(chosen)])
            step += 1
        await self._play([self._spec(offset) for offset in range(budget - len(self.episodes))])

    def _sources(self, step: int, root: float) -> list[Trajectory]:
        """Return the episodes from which one branches off at `step`."""
        chosen = []
        for episode in list(self.episodes):
            if episode.stop_reason is StopReason.ERROR or not episode.branch_step <= step < episode.branch_step + len(episode.steps):
                continue
            entropy = self.rule.entropy(episode.steps[step - episode.branch_step])
            if entropy is not None and self.rule.branches(entropy, root, self._consecutive(episode, step), self.rng):
                chosen.append(episode)
                self._branched.add((episode.repeat, step))
        return chosen

    def _consecutive(self, episode: Trajectory, step: int) -> int:
        """Return the number of steps right before `step` on the episode's path at which an episode branched off."""
        count = 0
        while step - count - 1 >= 1 and (self._owner(episode, step - count - 1).repeat, step - count - 1) in self._branched:
            count += 1
        return count

    def _owner(self, episode: Trajectory, step: int) -> Trajectory:
        """Return the episode on the path that generated `step`."""
        while step < episode.branch_step and episode.parent is not None:
            episode = self.episodes[episode.parent]
        return episode

    def _spec(self, offset: int = 0, point: EpisodePoint | None = None) -> EpisodeSpec:
        group = self.group
        return EpisodeSpec(
            seed=group.seed, task=group.task, group=group.group, repeat=len(self.episodes) + offset, branch=point, keep_points=True
        )

    async def _play(self, specs: Sequence[EpisodeSpec]) -> None:
        if specs:
            self.episodes += await self.request.play(specs)
