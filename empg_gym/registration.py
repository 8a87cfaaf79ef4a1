"""The Gymnasium ids of the benchmarks. Entry points are strings, so that registering imports nothing."""

from __future__ import annotations

import gymnasium as gym

ENVIRONMENTS: dict[str, str] = {
    "EMPG/ALFWorld-v0": "empg_gym.envs.alfworld.env:ALFWorldEnv",
    "EMPG/WebShop-v0": "empg_gym.envs.webshop.env:WebShopEnv",
    "EMPG/DeepSearch-v0": "empg_gym.envs.deepsearch.env:DeepSearchEnv",
}
"""Id to entry point."""


def register_environments() -> None:
    """Register every id that is not registered yet."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)
