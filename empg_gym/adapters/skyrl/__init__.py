"""SkyRL: the benchmarks as text environments of SkyRL-gym, and EMPG for SkyRL's trainer. Extra `skyrl`."""

from empg_gym.adapters.framework import require_framework

require_framework("skyrl")

from empg_gym.adapters.skyrl.environment import EMPGTextEnv, register, skyrl_rows  # noqa: E402

__all__ = ["EMPGTextEnv", "register", "skyrl_rows"]
