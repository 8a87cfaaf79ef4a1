"""`groups`: every group is played once, with the same number of episodes (GRPO)."""

from __future__ import annotations

from empg_gym.trainers.collect.plans.base import PLANS, Collection, PlanRequest


@PLANS.register("groups")
async def groups(request: PlanRequest) -> Collection:
    """Play `rl.repeats` episodes of each group that the task source draws."""
    specs = [group.episode(repeat) for group in request.draw(0) for repeat in range(request.repeats)]
    return Collection(trajectories=await request.play(specs))
