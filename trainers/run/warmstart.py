"""The warm start: supervised learning on expert episodes, whose rows have the form of rollout rows.

The last steps, a share `warmstart.dagger`, learn from episodes that the policy plays together with the expert.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from empg_gym.rng import Stream, stream
from empg_gym.trainers.collect.dagger import DaggerEpisodes
from empg_gym.trainers.collect.demonstrations import supervised_rows
from empg_gym.trainers.config.sections import WarmStartConfig
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trajectory import Trajectory


class WarmStart:
    """Takes the steps of supervised learning.

    Args:
        optimizer: the policy's optimizer.
        config: episodes per step, loss weights and token budget.
        trajectories: expert episodes with token ids.
        seed: seed of their order.
        dagger: plays the episodes of the last steps; None where there are none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        config: WarmStartConfig,
        trajectories: Sequence[Trajectory],
        seed: int,
        dagger: DaggerEpisodes | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.config = config
        self.trajectories = trajectories
        self.seed = seed
        self.dagger = dagger

    def step(self, step: int) -> dict[str, float]:
        """Take step `step`, counted from 0, and return its metrics."""
        began = time.perf_counter()
        if self.dagger is not None and step >= self.config.steps - self.config.dagger_steps:
            chosen = self.dagger.play(step)
        else:
            chosen = [self.trajectories[index] for index in self._indices(step)]
        rows, weights = supervised_rows(chosen, self.config.observation_weight)
        weights = weights.to(self.optimizer.policy.device)
        loss, norm = self.optimizer.update(
            self.optimizer.policy.micro_batches(rows, self.config.token_budget),
            lambda batch, scores: -(scores.logprobs * weights[batch.flat.to(weights.device)]).sum(),
        )
        tokens = sum(len(row) for row in rows)
        return {
            "warmstart/loss": loss,
            "warmstart/grad_norm": norm,
            "warmstart/lr": self.optimizer.lr,
            "warmstart/tokens": tokens,
            "speed/tokens_per_s": tokens / (time.perf_counter() - began),
        }

    @property
    def can_resume(self) -> bool:
        """Whether a run that resumes here takes the same steps."""
        return self.dagger is None or self.dagger.is_between_blocks

    def _indices(self, step: int) -> list[int]:
        """Return the indices of a step's episodes: epoch after epoch, each in a different order."""
        count, size = len(self.trajectories), self.config.episodes_per_step
        places = range(step * size, (step + 1) * size)
        orders = {
            epoch: stream(self.seed, Stream.WARMSTART_ORDER, epoch).permutation(count) for epoch in {place // count for place in places}
        }
        return [int(orders[place // count][place % count]) for place in places]
