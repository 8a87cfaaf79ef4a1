"""TRL: the benchmarks for `environment_factory`, and EMPG in `GRPOTrainer`. Extra `trl`."""

from empg_gym.adapters.framework import require_framework

require_framework("trl")

from empg_gym.adapters.trl.environments import ALFWorldTools, DeepSearchTools, WebShopTools, tool_rows  # noqa: E402
from empg_gym.adapters.trl.trainer import EMPGTrainer  # noqa: E402

__all__ = ["ALFWorldTools", "DeepSearchTools", "EMPGTrainer", "WebShopTools", "tool_rows"]
