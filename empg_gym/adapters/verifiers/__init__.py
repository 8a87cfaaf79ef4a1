"""verifiers v1: the benchmarks as a taskset with an environment and a harness. Extra `verifiers`.

`empg_gym.adapters.verifiers.credit` is EMPG for prime-rl and not imported here.
"""

from empg_gym.adapters.framework import require_framework

require_framework("verifiers")

from empg_gym.adapters.verifiers.environment import EMPGEnv, EMPGEnvConfig  # noqa: E402
from empg_gym.adapters.verifiers.harness import EMPGHarness, EMPGHarnessConfig  # noqa: E402
from empg_gym.adapters.verifiers.taskset import EMPGData, EMPGTask, EMPGTaskset, EMPGTasksetConfig  # noqa: E402

__all__ = ["EMPGData", "EMPGEnv", "EMPGEnvConfig", "EMPGHarness", "EMPGHarnessConfig", "EMPGTask", "EMPGTaskset", "EMPGTasksetConfig"]
