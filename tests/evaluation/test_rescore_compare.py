"""Saved runs: rescored and compared."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest
from rich.console import Console

from empg_gym.agents.scripted import ExpertAgent
from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.evaluation import compare, evaluate, rescore
from empg_gym.evaluation.live import results_table
from empg_gym.recipe import EnvRecipe
from empg_gym.report import write_report
from empg_gym.scoring.intervals import difference_interval
from empg_gym.trajectory import read_trajectories
from tests.toy import TOY_ID, DoorsEnv

RUDE_ID = "Test/RescoredDoors-v0"


class ChangingDoors(DoorsEnv):
    """The toy with a rule that a test can change, as a new release of a benchmark would."""

    generous = False
    rude = False
    farewell = ""
    outside = False

    @property
    def score(self):
        return 1.0 if self.generous and self._room >= 1 else super().score

    def _text(self):
        return super()._text() + (" Hurry up!" if self.rude else "") + (self.farewell if self.success else "")

    @property
    def does_io(self):
        return self.outside

    def _extras(self):
        return {"domain": "in_domain" if self.task_type == "odd" else "out_of_domain"}


if RUDE_ID not in gym.registry:
    gym.register(RUDE_ID, entry_point=ChangingDoors)


@pytest.fixture
def saved(tmp_path):
    evaluate(RUDE_ID, "random", episodes=8, repeats=2, out=tmp_path / "run", env_kwargs={"max_steps": 6})
    return tmp_path / "run"


def report(folder):
    return json.loads((folder / "rescore.json").read_text())


def test_domains_are_reported_separately(saved):
    entry = json.loads((saved / "summary.json").read_text())["results"][RUDE_ID]
    assert set(entry["by_domain"]) == {"in_domain", "out_of_domain"}
    assert entry["by_domain"]["in_domain"] == entry["by_task_type"]["odd"]


def test_the_same_rules_give_the_same_scores(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    summary = rescore(saved)
    assert report(saved / "rescored") == {"episodes": 16, "rescored": 16, "notes": {}, "changed": []}
    old = json.loads((saved / "summary.json").read_text())
    assert summary.results[RUDE_ID]["score_mean"] == old["results"][RUDE_ID]["score_mean"]
    assert [*read_trajectories(saved / "rescored" / "trajectories.jsonl")] == [*read_trajectories(saved / "trajectories.jsonl")]
    assert {path.name: path.read_bytes() for path in saved.iterdir() if path.is_file()} == before
    with pytest.raises(OutputExistsError, match="not empty"):
        rescore(saved)


def test_new_rules_give_new_scores(saved, monkeypatch, tmp_path):
    old = json.loads((saved / "summary.json").read_text())["results"][RUDE_ID]
    monkeypatch.setattr(ChangingDoors, "generous", True)
    summary = rescore(saved, tmp_path / "again")
    found = report(tmp_path / "again")
    assert found["rescored"] == 16 and len(found["changed"]) > 0
    assert all(change["new"]["score"] == 1.0 and change["old"]["score"] < 1.0 for change in found["changed"])
    assert summary.results[RUDE_ID]["score_mean"] > old["score_mean"]
    assert summary.results[RUDE_ID]["success_rate"] == old["success_rate"]


def test_other_observations_keep_the_old_score(saved, monkeypatch):
    monkeypatch.setattr(ChangingDoors, "rude", True)
    monkeypatch.setattr(ChangingDoors, "generous", True)
    rescore(saved)
    found = report(saved / "rescored")
    assert found["diverged"] == 16 and found["changed"] == []


def test_another_last_observation_keeps_the_old_score_too(tmp_path, monkeypatch):
    evaluate(RUDE_ID, "expert", episodes=3, out=tmp_path / "run")
    monkeypatch.setattr(ChangingDoors, "farewell", " Come back soon!")
    rescore(tmp_path / "run")
    assert report(tmp_path / "run" / "rescored")["diverged"] == 3


@pytest.mark.parametrize("change", ["outside", "kwargs"])
def test_episodes_that_cannot_be_replayed_are_kept_and_reported(saved, monkeypatch, change):
    if change == "outside":
        monkeypatch.setattr(ChangingDoors, "outside", True)
    else:
        config = json.loads((saved / "config.json").read_text())
        config["environments"][RUDE_ID]["kwargs"]["data"] = "gone"
        (saved / "config.json").write_text(json.dumps(config))
    rescore(saved)
    found = report(saved / "rescored")
    assert found["kept"] == 16 and found["notes"][RUDE_ID].startswith("kept: ")


def test_malformed_steps_and_listed_actions_replay(tmp_path):
    class Stutters:
        turn = 0

        def act(self, messages, *, tools=None):
            self.turn += 1
            return "hm" if self.turn % 2 else f"<think></think><action>open door {self.turn % 4 + 1}</action>"

    evaluate(TOY_ID, Stutters(), episodes=5, out=tmp_path / "run", show_admissible=True, concurrency=1)
    rescore(tmp_path / "run")
    assert report(tmp_path / "run" / "rescored")["rescored"] == 5


def test_errors_stay_errors(tmp_path):
    evaluate(TOY_ID, "random", episodes=10, out=tmp_path / "run", env_kwargs={"fail_on": "open door 1"})
    summary = rescore(tmp_path / "run")
    old = json.loads((tmp_path / "run" / "summary.json").read_text())["results"][TOY_ID]
    assert summary.results[TOY_ID]["errors"] == old["errors"] > 0


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(DataError, match="json is missing"):
        rescore(tmp_path)
    with pytest.raises(DataError, match="json is missing"):
        compare([tmp_path, tmp_path / "other"])


@pytest.fixture
def three(tmp_path):
    for name, agent, repeats in (("expert", "expert", 1), ("random", "random", 3), ("again", "random", 3)):
        evaluate(TOY_ID, agent, episodes=20, repeats=repeats, out=tmp_path / name)
    return [tmp_path / name for name in ("expert", "random", "again")]


def test_differences_are_paired_by_task(three):
    comparison = compare(three)
    assert comparison.runs == ("expert", "random", "again") and comparison.warnings == ()
    cells = {(cell.run, cell.metric): cell for cell in comparison.cells}
    assert cells["expert", "success"].difference is None and cells["expert", "success"].value == 1.0
    tasks: dict[str, list[float]] = {}
    for one in read_trajectories(three[1] / "trajectories.jsonl"):
        tasks.setdefault(one.task, []).append(one.score)
    differences = [sum(scores) / len(scores) - 1.0 for scores in tasks.values()]
    cell = cells["random", "score"]
    assert cell.pairs == 20 and cell.difference == pytest.approx(sum(differences) / 20)
    assert cell.difference_interval == pytest.approx(difference_interval(differences))
    assert cells["again", "score"].difference == cell.difference


def test_pairs_are_the_shared_tasks_only(tmp_path, three):
    evaluate(TOY_ID, "random", tasks=[f"test-{index}" for index in range(50)], repeats=1, out=tmp_path / "all")
    cells = [cell for cell in compare([three[0], tmp_path / "all"]).cells if cell.run == "all"]
    assert [cell.pairs for cell in cells] == [20, 20] and [cell.episodes for cell in cells] == [50, 50]


def test_different_conditions_are_reported(tmp_path, three):
    evaluate(TOY_ID, "random", episodes=20, out=tmp_path / "react", dialogue="react", env_kwargs={"length": 4})
    (warning,) = compare([three[0], tmp_path / "react"]).warnings
    assert "data_fingerprint" in warning and "dialogue" in warning and "prompt_hash" in warning


def test_runs_that_cannot_be_compared(tmp_path, three):
    with pytest.raises(ConfigError, match="at least two"):
        compare(three[:1])
    with pytest.raises(ConfigError, match="named twice"):
        compare([three[0], three[0]])
    evaluate(RUDE_ID, "random", episodes=2, out=tmp_path / "other")
    with pytest.raises(ConfigError, match="share no environment"):
        compare([three[0], tmp_path / "other"])


def test_a_failed_rescore_does_not_block_the_next(saved):
    path = saved / "trajectories.jsonl"
    whole = path.read_text()
    path.write_text(whole + "{}\n")
    with pytest.raises(DataError, match="line 17"):
        rescore(saved)
    assert {file.name for file in saved.iterdir()} == {"config.json", "trajectories.jsonl", "summary.json"}
    path.write_text(whole)
    assert rescore(saved).results[RUDE_ID]["episodes"] == 16


@pytest.mark.parametrize("place, error", [("file", OutputExistsError), ("file/below", ConfigError)])
def test_new_scores_are_not_written_into_a_file(saved, tmp_path, place, error):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(error):
        rescore(saved, tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "change", [{"environments": {RUDE_ID: 5}}, {"environments": {RUDE_ID: {"kwargs": 5}}}, {"environments": 5}, {"agent": 5}]
)
def test_a_damaged_configuration_is_reported_in_a_sentence(saved, three, change):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match=r"config\.json"):
        rescore(saved)
    with pytest.raises(DataError, match=r"config\.json"):
        compare([three[0], saved])


@pytest.mark.parametrize("place", ["working folder", "root", "parent", "run", "other"])
def test_new_scores_never_replace_an_existing_folder(saved, tmp_path_factory, monkeypatch, place):
    other = tmp_path_factory.mktemp("other")
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    (other / "notes.txt").write_text("mine")
    out = {"working folder": Path(), "root": Path("/"), "parent": saved.parent, "run": saved, "other": other}[place]
    before = {path: path.read_bytes() for path in (*saved.rglob("*"), other / "notes.txt") if path.is_file()}
    node = Path.cwd().stat().st_ino
    with pytest.raises(OutputExistsError, match=r"working folder|not empty"):
        rescore(saved, out)
    assert {path: path.read_bytes() for path in before} == before and list(other.iterdir()) == [other / "notes.txt"]
    assert Path.cwd().stat().st_ino == node and not list(Path.cwd().iterdir())
    assert not [path for path in saved.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("place", "value", "sign"),
    [
        ("kwargs", {"backend": "http://evil.example", "split": "test"}, "must not decide backend"),
        ("kwargs", {"judge": {"base_url": "http://evil.example/v1", "api_key_env": "HOME"}, "split": "test"}, "must not decide judge"),
        ("env_id", "tests.evaluation.imported_by_rescore:Test/RescoredDoors-v0", "names a module"),
    ],
)
def test_a_foreign_run_reaches_no_address_and_imports_no_module(saved, monkeypatch, place, value, sign):
    config = json.loads((saved / "config.json").read_text())
    config["environments"][RUDE_ID][place] = value
    (saved / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(EnvRecipe, "make", lambda recipe: pytest.fail(f"made {recipe}"))
    monkeypatch.setattr("empg_gym.registration.import_module", lambda name, *_: pytest.fail(f"imported {name}"))
    rescore(saved)
    found = report(saved / "rescored")
    assert found["kept"] == 16 and sign in found["notes"][RUDE_ID]


def test_what_a_file_must_not_decide_may_be_passed(saved):
    config = json.loads((saved / "config.json").read_text())
    config["environments"][RUDE_ID]["kwargs"]["fail_on"] = None
    (saved / "config.json").write_text(json.dumps(config))
    rescore(saved, env_kwargs={"fail_on": None})
    assert report(saved / "rescored")["rescored"] == 16


class Quits:
    """Solves what it finds easy, and fails on purpose in every other episode."""

    def session(self, env, seed):
        expert = ExpertAgent().session(env, seed)
        if env.text_env.task.endswith(("1", "3", "5")):
            raise RuntimeError("too hard")
        return expert


def test_errors_as_zero_are_shown_beside_the_rate_without_them(tmp_path, capsys):
    summary = evaluate(TOY_ID, Quits(), tasks=[0, 1, 2, 3], out=tmp_path / "quits", retries=0)
    evaluate(TOY_ID, "expert", tasks=[0, 1, 2, 3], out=tmp_path / "expert")
    entry = summary.results[TOY_ID]
    assert (entry["errors"], entry["success_rate"], entry["success_rate_errors_as_0"]) == (2, 1.0, 0.5)
    console = Console(width=200)
    console.print(results_table(summary.results))
    assert "errors as 0: success %" in capsys.readouterr().out
    comparison = compare([tmp_path / "expert", tmp_path / "quits"])
    console.print(comparison.table())
    shown = capsys.readouterr().out
    assert "errors as 0" in shown and "50.0" in shown
    assert [cell.value_errors_as_0 for cell in comparison.cells if cell.run == "expert"] == [None, None]
    assert any("errors as 0 counts them" in warning and "2 in quits" in warning for warning in comparison.warnings)
    assert "50.0 % over all episodes, errors as 0" in write_report(tmp_path / "quits").read_text()


def test_without_errors_there_is_one_rate(saved, tmp_path, capsys):
    results = json.loads((saved / "summary.json").read_text())["results"]
    Console(width=200).print(results_table(results))
    assert "errors as 0" not in capsys.readouterr().out and "errors_as_0" not in (saved / "summary.json").read_text()
