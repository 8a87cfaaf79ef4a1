"""Rescore a saved run, without its agent.

Rules:
    - The saved run is never changed: the result is a new run folder, by default DIR/rescored. It appears whole or not at all.
    - Each episode is replayed from its task and seed with the recorded actions. If the environment returns the recorded observations, its
      current score replaces the old one.
    - If it returns others (other data, other rules), the agent might have acted differently: such an episode keeps its old score and is
      counted as diverged. Episodes of environments that depend on something outside the process keep theirs and are counted as kept.
    - Errors stay errors.
    - The saved run may be somebody else's. An environment is made only if all its arguments are such that a file may decide them in a
      replay (`empg_gym.inherited`), or the caller passes the others; else its episodes keep their scores. Nothing is imported by a name
      from the folder.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import DataError, EMPGGymError
from empg_gym.evaluation.folder import HINT, read_config
from empg_gym.evaluation.summary import Summary, entry_key, merge, versions
from empg_gym.inherited import REPLAYED, inherit
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id
from empg_gym.runs.folder import CONFIG, SUMMARY, TRAJECTORIES, new_folder
from empg_gym.runs.json_file import read_json, write_json
from empg_gym.scoring.aggregate import aggregate
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord, record_of
from empg_gym.trajectory import StopReason, Trajectory, read_trajectories

REPORT = "rescore.json"


def rescore(
    run: str | Path,
    out: str | Path | None = None,
    *,
    prices: Prices | tuple[float, float] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Summary:
    """Rescore the episodes of the folder `run` and return the new summary.

    Args:
        run: folder of an evaluation.
        out: new folder; None means `run/rescored`.
        prices: prices per million prompt and completion tokens.
        env_kwargs: arguments of the environments that replace the saved ones; needed for those that a file must not decide.

    In addition to the usual files, the new folder holds `rescore.json`: how many episodes were rescored, kept or diverged, and each
    change of a score.

    Raises:
        ConfigError: `prices` are not two numbers of at least 0.
        DataError: `run` is not an evaluation run.
        OutputExistsError: the output folder is not empty.
    """
    run, priced = Path(run), Prices.of(prices)
    config = read_config(run)
    with new_folder(Path(out) if out is not None else run / "rescored") as folder:
        return _rescore(run, config, folder, priced, env_kwargs or {})


def _rescore(run: Path, config: dict[str, Any], folder: Path, prices: Prices | None, given: Mapping[str, Any]) -> Summary:
    environments = config["environments"]
    judges = {key: _Judge(facts, given) for key, facts in environments.items()}
    records: list[EpisodeRecord] = []
    outcomes: Counter[str] = Counter()
    changes: list[dict[str, Any]] = []
    try:
        with (folder / TRAJECTORIES).open("w", encoding="utf-8") as lines:
            for trajectory in read_trajectories(run / TRAJECTORIES):
                key = _key(trajectory, environments)
                old = (trajectory.success, trajectory.score, trajectory.total_reward)
                outcomes[judges[key].score(trajectory)] += 1
                new = (trajectory.success, trajectory.score, trajectory.total_reward)
                if new != old:
                    names = ("success", "score", "reward")
                    change = {"old": dict(zip(names, old, strict=True)), "new": dict(zip(names, new, strict=True))}
                    changes.append({"environment": key, "task": trajectory.task, "repeat": trajectory.repeat, **change})
                records.append(record_of(trajectory, key))
                lines.write(trajectory.to_json() + "\n")
        notes = {key: judge.note for key, judge in judges.items() if judge.note}
    finally:
        for judge in judges.values():
            judge.close()
    saved = read_json(run / SUMMARY, hint=HINT) if (run / SUMMARY).exists() else {}
    results = {
        key: merge({**judges[key].facts, "seed": config.get("seed"), "repeats": config.get("repeats")}, _numbers(key, records, prices))
        for key in environments
    }
    data = {**saved, "agent": config["agent"]["name"], "results": results, "rescored_from": run.name, "versions": versions()}
    played_on = {key: {**facts, **judges[key].facts} for key, facts in environments.items()}
    priced = None if prices is None else dataclasses.asdict(prices)
    write_json(folder / CONFIG, {**config, "environments": played_on, "prices": priced})
    write_json(folder / SUMMARY, data)
    write_json(folder / REPORT, {"episodes": len(records), **dict(sorted(outcomes.items())), "notes": notes, "changed": changes})
    return Summary(data, tuple(records))


def _numbers(key: str, records: list[EpisodeRecord], prices: Prices | None) -> dict[str, Any]:
    return aggregate([record for record in records if record.env == key], prices=prices)


def _key(trajectory: Trajectory, environments: dict[str, Any]) -> str:
    key = entry_key(trajectory, environments)
    if key not in environments:
        raise DataError(
            f"a trajectory of {trajectory.env_id}@{trajectory.split} is in a run of {', '.join(environments)}; the folder is damaged"
        )
    return key


class _Judge:
    """Replays the episodes of one environment."""

    def __init__(self, facts: dict[str, Any], given: Mapping[str, Any]) -> None:
        self.facts = {name: value for name, value in facts.items() if name != "tasks"}
        self.note = ""
        self._env: LLMAgentEnv | None = None
        env_id = str(facts.get("env_id"))
        if ":" in env_id:
            self.note = f"kept: the run's file names a module, {env_id!r}, which is not imported"
            return
        saved, ignored = inherit(env_id, facts.get("kwargs") or {}, also=REPLAYED)
        if needed := sorted(ignored.keys() - given.keys()):
            self.note = f"kept: the run's file must not decide {', '.join(needed)} of the environment; pass them with --set env.KEY=VALUE"
            return
        try:
            self._env = EnvRecipe(find_id(env_id), {**saved, **given}).make()
        except EMPGGymError as error:
            self.note = f"kept: the environment can't be made ({error})"
            return
        if self._env.text_env.does_io:
            self.note = "kept: the environment depends on something outside the process"
            self.close()
        else:
            inner = self._env.text_env
            self.facts.update(env_version=inner.version, data_fingerprint=inner.fingerprint)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def score(self, trajectory: Trajectory) -> str:
        """Replace the trajectory's rewards and scores by current ones where it replays; return its outcome for `rescore.json`.

        The message after a malformed response does not repeat the observation, so there is nothing to compare.
        """
        if trajectory.stop_reason == StopReason.ERROR:
            return "errors"
        if self._env is None:
            return "kept"
        steps = [dataclasses.replace(step) for step in trajectory.steps]
        env = self._env.env
        try:
            observation, info = env.reset(seed=trajectory.seed, options={"task": trajectory.task})
            corrected = False
            for step in steps:
                if not corrected and not step.observation.startswith(observation):
                    return "diverged"
                corrected = step.malformed
                observation, reward, _, _, info = env.step(step.action)
                step.reward, step.valid_action = float(reward), bool(info["valid_action"])
        except EMPGGymError:
            return "diverged"
        if observation != trajectory.final_observation:
            return "diverged"
        trajectory.steps = steps
        trajectory.total_reward = sum(step.reward for step in steps)
        trajectory.success, trajectory.score = bool(info["success"]), float(info["score"])
        trajectory.env_version = self._env.text_env.version
        trajectory.data_fingerprint = self._env.text_env.fingerprint
        return "rescored"
