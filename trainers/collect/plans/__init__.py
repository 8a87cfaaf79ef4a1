"""Rollout plans, by name: which episodes a training step plays for the groups that its task source draws.

A plan is a coroutine function `(PlanRequest, *, options) -> Collection`. It may play in several rounds and look at the results in between:
`groups` plays every group once (GRPO), `dynamic` samples until enough groups are informative (DAPO), `branching` grows trees from
uncertain steps (AEPO).
"""

from empg_gym.trainers.collect.plans.base import PLANS, Collection, PlanRequest, RolloutPlan
from empg_gym.trainers.collect.plans.branching import branching
from empg_gym.trainers.collect.plans.dynamic import dynamic
from empg_gym.trainers.collect.plans.groups import groups

__all__ = ["PLANS", "Collection", "PlanRequest", "RolloutPlan", "branching", "dynamic", "groups"]
