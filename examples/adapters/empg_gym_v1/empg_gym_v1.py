"""The environment package of EMPG Gym for verifiers v1: its taskset, environment and harness, under the id `empg-gym-v1`."""

from empg_gym.adapters.verifiers import EMPGEnv, EMPGHarness, EMPGTaskset

__all__ = ["EMPGEnv", "EMPGHarness", "EMPGTaskset"]
