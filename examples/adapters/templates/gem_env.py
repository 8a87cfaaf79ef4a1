"""Template: a benchmark as an environment of GEM. GEM's release needs Python 3.12.0 or older; with this package that means 3.11.

pip install empg-gym gem-llm==0.1.0
import gem, gem_env; env = gem.make("empg:alfworld-train", seed=0)
"""

from typing import Any

import gem
from gem import Env

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.session import Session


class EMPGGemEnv(Env):
    """An episode per reset; the task is drawn from the seed, or is `task` in every episode."""

    def __init__(self, env_id: str = "alfworld", split: str = "train", task: str | int | None = None, seed: int = 0, **kwargs: Any) -> None:
        super().__init__()
        self._arguments = {"env_id": env_id, "split": split, "task": task, **kwargs}
        self._columns, self._seed = {"env_id": env_id, "split": split, "task": task}, seed
        self._session = Session(kwargs)

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; without a seed it is the one after the last."""
        self._seed = self._seed + 1 if seed is None else seed
        message = self._session.reset(EpisodeTask.from_columns({**self._columns, "seed": self._seed}))
        return message, {"system_prompt": self._session.env.system_prompt}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out the model's response."""
        reply = self._session.step(action)
        return reply.message, reply.reward, reply.terminated, reply.truncated, self._session.metrics

    def sample_random_action(self) -> str:
        """Return an admissible action, in the dialogue's format."""
        env = self._session.env
        return env.dialogue.render("", str(env.text_env.np_random.choice(env.admissible_actions or [""])))

    def spawn(self, same_state: bool = False, **kwargs: Any) -> "EMPGGemEnv":
        """Return another environment: in the same state, or before its first reset."""
        child = EMPGGemEnv(**{**self._arguments, **kwargs}, seed=self._seed)
        if same_state:
            child.reset(seed=self._seed)
            child._session.env.restore(self._session.env.snapshot())
        return child


for _name, _split in (("alfworld", "train"), ("webshop", "train"), ("deepsearch", "train")):
    gem.register(f"empg:{_name}-{_split}", "gem_env:EMPGGemEnv", env_id=_name, split=_split)
