"""Template: a resources server of NeMo Gym for the benchmarks. Copy it to `resources_servers/empg_gym/app.py` in a clone of NeMo Gym.

NeMo Gym needs Python 3.13.14 or newer and is not on PyPI; `requirements.txt` of the server is one line: empg-gym.
A row of the data set is {"responses_create_params": {"input": []}, "env_id": "EMPG/ALFWorld-v0", "split": "train", "task": "…", "seed": 0}
(`empg_gym.adapters.episode_task.episode_tasks` makes the columns). The agent is `gymnasium_agent`.
"""

import asyncio
from typing import Any

from resources_servers.gymnasium import GymnasiumServer

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.session import Session


class EMPGGymServer(GymnasiumServer):
    """One session per rollout, found by NeMo Gym's session id."""

    async def reset(self, metadata: dict[str, Any], session_id: str) -> tuple[str, dict[str, Any]]:
        """Start the episode that the row names; the system prompt is part of the first observation."""
        session = Session()
        message = await asyncio.to_thread(session.reset, EpisodeTask.from_columns(metadata))
        self.session_state[session_id] = session
        system = session.env.system_prompt
        return f"{system}\n\n{message}" if system else message, {}

    async def step(self, action: Any, metadata: dict[str, Any], session_id: str) -> tuple[str | None, float, bool, bool, dict[str, Any]]:
        """Carry out the model's response."""
        session: Session = self.session_state[session_id]
        reply = await asyncio.to_thread(session.step, self.extract_text(action))
        return None if reply.done else reply.message, reply.reward, reply.terminated, reply.truncated, session.metrics

    async def close_session(self, session_id: str) -> None:
        """Close the environment."""
        session = self.session_state.pop(session_id, None)
        if session is not None:
            await asyncio.to_thread(session.close)


if __name__ == "__main__":
    EMPGGymServer.run_webserver()
