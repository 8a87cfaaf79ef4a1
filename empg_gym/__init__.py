"""EMPG Gym: environments, agent loop, trainer and evaluation for long-horizon LLM agents.

Importing this package registers `EMPG/ALFWorld-v0`, `EMPG/WebShop-v0` and `EMPG/DeepSearch-v0` with Gymnasium. It never imports torch.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "EMPG Gym runs on Linux and macOS; on Windows install it inside WSL (https://learn.microsoft.com/windows/wsl/install)"
    )

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.env import Outcome, TextEnv
from empg_gym.registration import register_environments
from empg_gym.trajectory import Completion, Step, StopReason, Trajectory

if TYPE_CHECKING:
    from empg_gym.evaluation import evaluate

__version__ = "0.1.0"
__all__ = ["Completion", "LLMAgentEnv", "Outcome", "Step", "StopReason", "TextEnv", "Trajectory", "__version__", "evaluate"]

register_environments()


def __getattr__(name: str) -> Any:
    """Import `evaluate` when it is first asked for: environments alone need no evaluator."""
    if name == "evaluate":
        from empg_gym.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'empg_gym' has no attribute {name!r}")
