"""Evaluation during training: the episodes and numbers of `evaluate`."""

from __future__ import annotations

import dataclasses
import io
import json

import gymnasium as gym
import pytest
from rich.console import Console

from empg_gym.agents.scripted import ExpertAgent, RandomAgent
from empg_gym.evaluation import evaluate
from empg_gym.scoring.intervals import wilson
from empg_gym.trainers.run.evaluation import EvaluationResult, Evaluator, result_of
from empg_gym.trainers.run.progress import ProgressView, before_and_after
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import StopReason, read_trajectories
from tests.trainers.corridor import Corridor, corridor_config


class Fragile(Corridor):
    """Fails in tasks that begin with amber."""

    def _apply(self, action):
        if self.split == "test" and self.task.startswith("amber"):
            raise OSError("the amber door fell off")
        return super()._apply(action)


if "EMPGTest/Fragile-v0" not in gym.registry:
    gym.register("EMPGTest/Fragile-v0", entry_point=Fragile)


def shared(result):
    """Return the numbers that training evaluation and `evaluate` both have."""
    of_all = {"success_rate_errors_as_0": result.success_errors_as_0, "score_mean_errors_as_0": result.score_errors_as_0}
    return {
        "episodes": result.tasks,
        "errors": result.errors,
        "success_rate": result.success,
        "success_interval": [result.success_low, result.success_high],
        "score_mean": result.score,
        "score_interval": [result.score_low, result.score_high],
        **(of_all if result.errors else {}),
    }


def episodes_of(trajectories):
    return {(item.task, item.seed, item.repeat): [step.response for step in item.steps] for item in trajectories}


@pytest.mark.parametrize("env_id", ["EMPGTest/Corridor-v0", "EMPGTest/Fragile-v0"])
@pytest.mark.parametrize("tasks", [5, 16, 40])
def test_the_same_agent_gets_the_episodes_and_numbers_of_evaluate(tmp_path, env_id, tasks):
    config = corridor_config("unused", env={"id": env_id}, eval={"seed": 3})
    evaluator = Evaluator(config, RandomAgent())
    [result], trajectories = evaluator.run(tasks)
    evaluator.close()
    chat = {"dialogue": "plain", "system_prompt": ""}
    summary = evaluate(f"{env_id}@test", RandomAgent(), episodes=min(tasks, 16), seed=3, out=tmp_path / "run", **chat)
    recorded = list(read_trajectories(tmp_path / "run" / "trajectories.jsonl"))
    assert episodes_of(trajectories) == episodes_of(recorded) and len(recorded) == min(tasks, 16)
    [entry] = summary.results.values()
    assert shared(result) == {name: entry[name] for name in shared(result)}
    assert (result.errors > 0) == (env_id == "EMPGTest/Fragile-v0")


def test_evaluating_the_checkpoint_repeats_the_episodes_of_the_run(tmp_path):
    settings = {"eval": {"splits": ["test"], "tasks": 6, "temperature": 1.0, "seed": 4}, "run": {"samples": 6}}
    config = corridor_config(str(tmp_path / "run"), **{name: {**keys} for name, keys in settings.items()})
    summary = Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
    last = [
        item
        for item in read_trajectories(tmp_path / "run" / "trajectories.jsonl")
        if (item.info["kind"], item.info["phase"], item.info["step"]) == ("evaluation", "rl", config.rl.steps)
    ]
    agent = f"checkpoint:{tmp_path / 'run'}"
    again = evaluate("EMPGTest/Corridor-v0@test", agent, episodes=6, seed=4, out=tmp_path / "again", agent_options={"device": "cpu"})
    recorded = list(read_trajectories(tmp_path / "again" / "trajectories.jsonl"))
    assert episodes_of(last) == episodes_of(recorded) and len(recorded) == 6
    [result], [entry] = summary["after"], again.results.values()
    assert shared(EvaluationResult.from_json(result)) == {name: entry[name] for name in shared(EvaluationResult.from_json(result))}


def test_errors_are_excluded_from_scores_and_shown_beside_them(tmp_path):
    evaluator = Evaluator(corridor_config("unused", env={"id": "EMPGTest/Fragile-v0"}), ExpertAgent())
    [result], trajectories = evaluator.run(16)
    evaluator.close()
    assert sum(item.stop_reason is StopReason.ERROR for item in trajectories) == 4
    assert (result.tasks, result.errors, result.success, result.score, result.valid_action, result.steps) == (16, 4, 1.0, 1.0, 1.0, 2.0)
    assert (result.success_low, result.success_high) == wilson(1.0, 12)
    assert result.metrics() == {
        "eval/test/success": 1.0, "eval/test/score": 1.0, "eval/test/valid_action": 1.0, "eval/test/steps": 2.0, "eval/test/errors": 4.0,
        "eval/test/success_errors_as_0": 0.75, "eval/test/score_errors_as_0": 0.75,
    }  # fmt: skip
    shown = io.StringIO()
    view = ProgressView(Console(file=shown, width=160))
    view.evaluation("Before", [result])
    view.table(before_and_after([result], [result]))
    assert "Before: success test 100.0 % of 12 tasks (4 errors; 75.0 % with errors as 0)" in shown.getvalue()
    cells = shown.getvalue().splitlines()[-2].strip("│").split("│")
    half = ["100.0 [75.8, 100.0]", "4", "75.0 %"]
    assert [cell.strip() for cell in cells] == ["test", "16", *half, *half, "+0.0 points"]
    sound = dataclasses.replace(result, errors=0, success_errors_as_0=None, score_errors_as_0=None)
    assert [column.header for column in before_and_after([sound], [sound]).columns].count("errors as 0") == 0
    assert [column.header for column in before_and_after([sound], [result]).columns].count("errors as 0") == 2
    assert not [name for name in sound.metrics() if "as_0" in name]


def test_task_types_have_their_own_errors():
    evaluator = Evaluator(corridor_config("unused", env={"id": "EMPGTest/Fragile-v0"}), ExpertAgent())
    _, trajectories = evaluator.run(16)
    evaluator.close()
    for item in trajectories:
        item.task_type = item.task.partition("-")[0]
    result = result_of("test", trajectories)
    assert result.by_type["amber"] == {"tasks": 4, "errors": 4, "success": None, "success_errors_as_0": 0.0}
    assert result.by_type["coral"] == {"tasks": 4, "errors": 0, "success": 1.0}
    assert EvaluationResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_result_of_an_earlier_release_is_read():
    record = {"split": "test", "tasks": 8, "success": 0.5, "success_low": 0.2, "success_high": 0.8, "score": 0.5, "valid_action": 1.0}
    result = EvaluationResult.from_json({**record, "turns": 3.0, "failed_episodes": 0, "by_type": {}})
    assert (result.success, result.errors, result.steps) == (0.5, 0, None)
    assert "eval/test/steps" not in result.metrics()
