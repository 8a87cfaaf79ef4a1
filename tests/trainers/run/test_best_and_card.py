"""The best checkpoint is named, kept and used; each checkpoint has a model card."""

import io
import json
import re
import tomllib

import pytest
import yaml
from rich.console import Console

from empg_gym.errors import ConfigError
from empg_gym.trainers.run.best import candidate, is_better
from empg_gym.trainers.run.checkpoint_agent import latest
from empg_gym.trainers.run.evaluation import EvaluationResult, Evaluator
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config

SUCCESS = [0.25, 0.5, 0.75, 0.5, 0.25]
"""Of the evaluations before reinforcement and after each step."""


def result(success, score=0.5, split="test"):
    return EvaluationResult(split=split, tasks=8, success=success, success_low=0.0, success_high=1.0, score=score, valid_action=1.0)


def train(folder, *, resume=False, **run):
    run = {"checkpoint_every": 4, "keep_checkpoints": 1} | run
    config = corridor_config(
        str(folder), run=run, warmstart={"steps": 1, "episodes": 4, "episodes_per_step": 4}, rl={"steps": 4}, eval={"every": 1}
    )
    return Trainer(config, ProgressView(Console(file=io.StringIO())), resume=resume).run()


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations with the results of `SUCCESS`, by the number of updates."""
    steps = iter(range(len(SUCCESS)))
    monkeypatch.setattr(Evaluator, "run", lambda self, tasks=None: ([result(SUCCESS[next(steps)])], []))
    return steps


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_best_checkpoint_survives_pruning_and_can_be_named(tmp_path, scripted):
    folder = tmp_path / "run"
    summary = train(folder)
    assert summary["best"] == {"checkpoint": "rl-000002", "step": 2, "success": 0.75, "score": 0.5, "splits": {"test": 0.75}}
    assert names(folder) == ["best", "latest", "rl-000000", "rl-000002", "rl-000004", "warmstart-000001"]
    best, last = folder / "checkpoints" / "rl-000002", folder / "checkpoints" / "rl-000004"
    assert latest(folder / "best") == latest(folder / "checkpoints" / "best") == str(best)
    assert latest(folder) == latest(folder / "latest") == str(last)
    cards = {path.name: (path / "README.md").read_text() for path in (best, last)}
    assert "Best checkpoint so far: `rl-000002`, success 75.0 %" in cards["rl-000004"]
    assert "| after 2 steps | test |" in cards["rl-000002"] and "| before reinforcement | test |" in cards["rl-000002"]


def test_a_resumed_run_knows_its_best_checkpoint(tmp_path, scripted, monkeypatch):
    folder = tmp_path / "run"
    save = Trainer._save

    def die_after_the_third_step(self):
        save(self)
        if (self.state.phase, self.state.step) == ("rl", 3):
            raise SystemExit

    monkeypatch.setattr(Trainer, "_save", die_after_the_third_step)
    with pytest.raises(SystemExit):
        train(folder, checkpoint_every=1)
    monkeypatch.setattr(Trainer, "_save", save)
    (folder / "checkpoints" / "best").unlink()  # as if killed between the checkpoint and its name
    summary = train(folder, checkpoint_every=1, resume=True)
    assert summary["best"]["checkpoint"] == (folder / "checkpoints" / "best").read_text().strip() == "rl-000002"
    assert names(folder) == ["best", "latest", "rl-000000", "rl-000002", "rl-000004", "warmstart-000001"]


def test_a_run_without_evaluations_has_no_best_checkpoint(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="has no best checkpoint: it has evaluated no split"):
        latest(tmp_path / "run" / "best")


def test_success_decides_then_the_score_then_the_earlier_one():
    found = candidate([result(0.5, 0.2), result(None), result(0.7, 0.4, "valid")], "rl-000003", 3)
    assert (found["success"], found["score"], found["splits"]) == (pytest.approx(0.6), pytest.approx(0.3), {"test": 0.5, "valid": 0.7})
    assert candidate([result(None)], "rl-000003", 3) is None
    assert is_better(found, None) and not is_better(found, found)
    assert is_better(found | {"score": 0.31}, found) and not is_better(found | {"success": 0.5, "score": 1.0}, found)


def test_the_card_has_metadata_results_and_the_way_to_repeat_the_run(tmp_path, scripted):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    folder = tmp_path / "run"
    train(folder)
    path = folder / "checkpoints" / "rl-000004" / "README.md"
    text = path.read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["library_name"], "base_model" in front, front["tags"][-1]) == ("transformers", False, "empg")
    (index,) = front["model-index"]
    dataset = {"name": "EMPGTest/Corridor-v0 (embedded world)", "type": "EMPGTest/Corridor-v0", "split": "test"}
    assert [item["dataset"] for item in index["results"]] == [dataset] * 2
    assert [item["metrics"] for item in index["results"]] == [[{"type": "success", "value": 0.25}], [{"type": "score", "value": 0.5}]]
    card = huggingface_hub.ModelCard.load(path)
    assert {item.metric_type: item.metric_value for item in card.data.eval_results} == {"success": 0.25, "score": 0.5}
    assert "| after 4 steps | test | – | 8 | 0 | 25.0 [0.0, 100.0] | 0.500 |" in text
    assert "| step mean |" in text and "empg-gym train run.toml --out runs/again" in text
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    written = json.loads((folder / "config.json").read_text())
    assert tomllib.loads(block)["rl"]["steps"] == written["rl"]["steps"] == 4
