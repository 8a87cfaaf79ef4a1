"""`dynamic`: sample until enough groups are informative (DAPO, Yu et al. 2025, arXiv 2503.14476).

A group whose episodes all have the same outcome has advantage 0 under every group-relative method. The plan discards such groups and draws
further ones until it has as many informative groups as a step asks for, in at most `max_rounds` rounds.

Decided here:
    - Informative means that the outcomes differ, before shaping and penalties: a penalty never keeps a group.
    - A round draws as many groups as the step asks for; groups beyond that number are discarded, those of later rounds first.
    - When the bound is reached, `on_shortfall` decides. "keep" trains on the informative groups found so far, so that a late run, in which
      few groups are informative, takes smaller batches instead of noise. "fill" adds discarded groups until the batch is full (ARL-Arena),
      those whose episodes failed last.
    - Should no group at all be informative, the step trains on nothing and says so.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from empg_gym.errors import ConfigError
from empg_gym.trainers.collect.plans.base import PLANS, Collection, PlanRequest
from empg_gym.trainers.data.batch import usable
from empg_gym.trajectory import Trajectory


@PLANS.register("dynamic")
async def dynamic(request: PlanRequest, *, max_rounds: int = 10, on_shortfall: Literal["keep", "fill"] = "keep") -> Collection:
    """Play groups until enough of them are informative.

    Args:
        request: the training step.
        max_rounds: rounds at most, each of as many groups as the step asks for.
        on_shortfall: "keep" or "fill"; see the module docstring.

    Raises:
        ConfigError: an option out of range.
    """
    if max_rounds < 1 or on_shortfall not in ("keep", "fill"):
        raise ConfigError(f"dynamic expects max_rounds >= 1 and on_shortfall 'keep' or 'fill', not {max_rounds} and {on_shortfall!r}")
    informative: list[list[Trajectory]] = []
    others: list[list[Trajectory]] = []
    wanted = rounds = 0
    while rounds < max_rounds and (rounds == 0 or len(informative) < wanted):
        drawn = request.draw(rounds)
        wanted = wanted or len(drawn)
        played = await request.play([group.episode(repeat) for group in drawn for repeat in range(request.repeats)])
        by_group: dict[int, list[Trajectory]] = defaultdict(list)
        for trajectory in played:
            by_group[trajectory.group].append(trajectory)
        for group in by_group.values():
            (informative if request.is_informative(group) else others).append(group)
        rounds += 1
    chosen, surplus = informative[:wanted], informative[wanted:]
    if on_shortfall == "fill":
        missing = wanted - len(chosen)
        others.sort(key=lambda group: not usable(group))
        chosen, others = chosen + others[:missing], others[missing:]
    discarded = [item for group in (*surplus, *others) for item in group]
    metrics = {
        "collect/rounds": float(rounds),
        "collect/informative_groups": float(len(informative)),
        "collect/discarded_groups": float(len(surplus) + len(others)),
        "collect/discarded_tokens": float(sum(item.num_tokens for item in discarded)),
    }
    return Collection(trajectories=[item for group in chosen for item in group], metrics=metrics, discarded=discarded)
