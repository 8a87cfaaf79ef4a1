"""verl: the benchmarks as an agent loop, and EMPG in its trainer. Extra `verl`.

The names are imported on first use: an agent loop runs in processes that have no use for the trainer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from empg_gym.adapters.framework import require_framework

if TYPE_CHECKING:
    from empg_gym.adapters.verl.agent_loop import EMPGAgentLoop
    from empg_gym.adapters.verl.trainer import EMPGTrainer

require_framework("verl")

__all__ = ["EMPGAgentLoop", "EMPGTrainer", "verl_rows"]


def __getattr__(name: str) -> Any:
    if name in ("EMPGAgentLoop", "verl_rows"):
        from empg_gym.adapters.verl import agent_loop

        return getattr(agent_loop, name)
    if name == "EMPGTrainer":
        from empg_gym.adapters.verl.trainer import EMPGTrainer

        return EMPGTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
