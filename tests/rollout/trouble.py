"""Registers environments that go wrong; their classes are in other modules, which are imported when they are made."""

import gymnasium as gym

TROUBLE_ID = "Test/Trouble-v0"
EXITS_ID = "Test/ExitsAtImport-v0"

for env_id, entry_point in ((TROUBLE_ID, "tests.rollout.trouble_env:TroubleEnv"), (EXITS_ID, "tests.rollout.exits_at_import:Env")):
    if env_id not in gym.registry:
        gym.register(env_id, entry_point=entry_point)
