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
    from empg_gym.serve.batch import connect_batch
    from empg_gym.serve.remote_env import connect

__version__ = "0.1.0"
__all__ = [
    "Completion",
    "LLMAgentEnv",
    "Outcome",
    "Step",
    "StopReason",
    "TextEnv",
    "Trajectory",
    "__version__",
    "connect",
    "connect_batch",
    "evaluate",
]

register_environments()


def __getattr__(name: str) -> Any:
    """Import what environments alone do not need when it is first asked for."""
    if name == "evaluate":
        from empg_gym.evaluation import evaluate

        return evaluate
    if name == "connect":
        from empg_gym.serve.remote_env import connect

        return connect
    if name == "connect_batch":
        from empg_gym.serve.batch import connect_batch

        return connect_batch
    raise AttributeError(f"module 'empg_gym' has no attribute {name!r}")
