"""The environment between the player and its task, step by step."""

from __future__ import annotations

import asyncio

import verifiers.v1 as vf

from empg_gym.adapters.session import Session
from empg_gym.adapters.verifiers.taskset import EMPGTask
from empg_gym.errors import ConfigError


class EMPGEnvConfig(vf.EnvConfig):  # type: ignore[misc]
    """One role, the player. It runs in this machine's processes unless configured otherwise, not in a remote sandbox."""

    player: vf.AgentConfig = vf.AgentConfig(runtime={"type": "subprocess"})


class EMPGEnv(vf.Env[EMPGEnvConfig]):  # type: ignore[misc]
    """Plays one episode per rollout.

    The reward `reward` is the sum of the environment's rewards; metrics are those of `Session.metrics`. `trace.info` has the episode's
    columns and the steps: observation, action, reward and ending of each. An episode that an error ended has no reward and no metrics.
    """

    async def run(self, task: EMPGTask, agents: vf.Agents) -> None:
        """Play the episode of a task.

        Raises:
            ConfigError: the task is not of `EMPGTaskset`.
        """
        data = task.data
        if not hasattr(data, "episode"):
            raise ConfigError(f"EMPGEnv plays the tasks of EMPGTaskset, not {type(task).__name__}; set --env.taskset.id empg-gym-v1")
        session = Session(data.env_kwargs, chat=data.chat)
        try:
            message = await asyncio.to_thread(session.reset, data.episode)
            async with agents.player.interaction(task) as interaction:
                segment = await interaction.turn(message)
                while not segment.terminated:
                    reply = await asyncio.to_thread(session.step, segment.last_reply)
                    if reply.done:
                        interaction.trace.stop("terminated" if reply.terminated else "step_limit")
                        break
                    segment = await interaction.turn(reply.message)
                trace = interaction.trace
                metrics = session.metrics
                reward = metrics.pop("reward")
                if not trace.errors:
                    trace.record_reward("reward", reward)
                    trace.record_metrics(metrics)
                trajectory = session.trajectory
                trace.info["empg_gym"] = {
                    **data.episode.columns(),
                    "data_fingerprint": trajectory.data_fingerprint,
                    "rewards": [step.reward for step in trajectory.steps],
                    "actions": [step.action for step in trajectory.steps],
                    "final_observation": trajectory.final_observation,
                    "terminated": session.last.terminated,
                    "truncated": session.last.truncated,
                }
        finally:
            await asyncio.to_thread(session.close)
