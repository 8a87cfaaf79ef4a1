"""`empg-gym train`: a dry run, wrong use, and a whole run with its report."""

import gc
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from empg_gym.cli import main
from empg_gym.runs.lock import FolderLock

ROOT = Path(__file__).parents[3]
TINY = ROOT / "configs" / "alfworld-tiny.toml"
SHORT = [
    "run.threads=1", "warmstart.steps=3", "warmstart.episodes=16", "warmstart.episodes_per_step=4", "rl.steps=1", "rl.tasks_per_step=2",
    "rl.repeats=2", "eval.tasks=2", "env.max_steps=3", "model.from_scratch.width=32", "warmstart.only_solved=false", "algorithm.filters=[]",
]  # fmt: skip


@pytest.fixture
def empg_gym(monkeypatch, capfd):
    """Run the command line in this process, where torch is already imported; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["empg-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=shown.out, stderr=shown.err)

    return run


def test_a_dry_run_prints_a_usable_configuration(tmp_path, empg_gym):
    result = empg_gym("train", TINY, "--dry-run", "--set", "rl.steps=7", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "# Not checked: whether the policy learns; the time and the disk space of the run." in result.stdout
    resolved = tomllib.loads(result.stdout)
    assert (resolved["rl"]["steps"], resolved["run"]["out"]) == (7, str(tmp_path / "run"))
    again = tmp_path / "resolved.toml"
    again.write_text(result.stdout)
    assert empg_gym("train", again, "--dry-run").stdout == result.stdout
    assert not (tmp_path / "run").exists()


def test_an_explanation_needs_no_transformers():
    code = (
        "import sys; sys.argv = ['empg-gym', 'train', {!r}, '--explain']\n"
        "sys.modules.update(transformers=None)\n"
        "from empg_gym.cli import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code.format(str(TINY))], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "empg" in result.stdout


def test_the_command_line_restores_the_garbage_collector(monkeypatch):
    before = gc.get_threshold()
    monkeypatch.setattr(sys, "argv", ["empg-gym", "--version"])
    gc.set_threshold(711, 12, 13)
    try:
        with pytest.raises(SystemExit):
            main()
        assert gc.get_threshold() == (711, 12, 13)
    finally:
        gc.set_threshold(*before)


def test_a_dry_run_needs_no_torch():
    code = (
        "import importlib.util, sys; sys.argv = ['empg-gym', 'train', {!r}, '--dry-run']\n"
        "sys.modules.update(torch=None, transformers=None)\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from empg_gym.cli import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code.format(str(TINY))], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_users_function_is_named_by_its_module(tmp_path, empg_gym, monkeypatch):
    (tmp_path / "my_advantages.py").write_text(
        "from empg_gym.trainers.algorithms.base import Advantages\n"
        "def constant(batch, *, value=1.0):\n"
        "    values = batch.rewards[batch.trajectory] * 0 + value\n"
        "    return Advantages(values=values, base=values, metrics={'mine/value': value})\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = [*SHORT, "algorithm.advantage=my_advantages:constant", "algorithm.advantage_options={ value = 0.5 }"]
    result = empg_gym("train", TINY, "--out", tmp_path / "run", *[part for item in settings for part in ("--set", item)])
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["mine/value"] == 0.5
    for name, sentence in (("constan", "did you mean 'constant'"), ("number", "must be callable, not of type int")):
        wrong = empg_gym("train", TINY, "--dry-run", "--set", f"algorithm.advantage=my_advantages:{name}")
        assert wrong.returncode == 2
        assert sentence in wrong.stderr.replace("\n", " ")


def test_a_dry_run_lists_what_it_did_not_check(empg_gym, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = empg_gym("train", TINY, "--dry-run", "--set", "model.from_scratch=none", "--set", "model.name=nobody/no-such-model")
    assert result.returncode == 0, result.stderr
    assert "# Not checked: the memory; whether nobody/no-such-model loads; its tokenizer and chat template (not on this " in result.stdout


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("algorithm.advantage=empgg", "unknown advantage 'empgg'"),
        ("algorithm.policy_loss_options={ clip = 1 }", "has no option 'clip'"),
        ("algorithm.advantage_options={ k = -1 }", "-1"),
        ("algorithm.plan=group", "unknown rollout plan 'group'"),
        ("algorithm.task_source=uniformly", "unknown task source"),
        ('algorithm.filters=["informativ"]', "unknown filter"),
        ("rollout.backend=vlm", "unknown generator backend"),
        ("rl.reward=sucess", "unknown reward"),
        ("rl.old_logprobs=recomputed", "unknown scorer"),
        ("rl.aggregation=token_mean", "unknown aggregation"),
        ("rl.updater=minibatch", "unknown updater"),
        ("env.id=EMPG/ALFWorl-v0", "unknown environment"),
        ("env.split=tran", "'tran'"),
        ("env.dialogue=foo", "foo"),
        ("env.options={ wordin = 1 }", "wordin"),
        ('eval.splits=["valid"]', "'valid'"),
    ],
)
def test_a_dry_run_finds_the_errors_of_a_run(empg_gym, setting, sentence):
    result = empg_gym("train", TINY, "--dry-run", "--set", setting)
    assert result.returncode == 2
    assert sentence in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.toml"], "no configuration file at missing.toml"),
        ([TINY, "--set", "rl.stesp=3"], "unknown key 'rl.stesp' in the configuration; did you mean 'steps'"),
        ([TINY, "--set", "env.data=/no/such/folder"], "/no/such/folder"),
        ([TINY, "--set", "algorithm.advantage=empgg"], "unknown advantage 'empgg'; did you mean 'empg'"),
        ([TINY, "--set", "algorithm.advantage_options.k=oops"], "algorithm.advantage_options: a value can't be used"),
        ([TINY, "--set", "rl.optimizer.beta1=1.0"], "rl.optimizer.beta1"),
        ([TINY, "--set", f"run.seed={2**64}"], "run.seed"),
        ([TINY, "--set", "model.from_scratch.init_std=-1.0"], "init_std"),
        ([TINY, "--set", "run.device=meta"], "unknown device 'meta'"),
        ([TINY, "--out", ""], "run.out: expected the path of a folder, not ''"),
        ([TINY, "--out", "a\0b"], "run.out: expected the path of a folder"),
        ([TINY, "--out", __file__], "test_cli_train.py is a file"),
        ([TINY, "--out", f"{__file__}/run", "--resume"], "test_cli_train.py is a file"),
        ([TINY, "--out", "n" * 300], "can't be written to: File name too long"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(tmp_path, empg_gym, arguments, sentence):
    result = empg_gym("train", "--out", tmp_path / "run", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_a_folder_is_one_sentence_and_exit_code_2(tmp_path, empg_gym):
    lock = FolderLock(tmp_path)
    for resume in ([], ["--resume"]):
        result = empg_gym("train", TINY, "--out", tmp_path, *resume)
        assert result.returncode == 2
        assert f"another run is writing to {tmp_path}" in result.stderr.replace("\n", "")
    assert not list(tmp_path.iterdir())
    lock.close()


def test_a_whole_run_and_its_folder(tmp_path, empg_gym):
    settings = [part for item in SHORT for part in ("--set", item)]
    folder = tmp_path / "run"
    result = empg_gym("train", TINY, "--out", folder, *settings)
    assert result.returncode == 0, result.stderr
    assert "Success on held-out tasks" in result.stdout
    summary = json.loads((folder / "summary.json").read_text())
    assert {item["split"] for item in summary["after"]} == {"valid_unseen", "valid_seen"}
    assert (folder / "report.html").stat().st_size > 10_000

    used = empg_gym("train", TINY, "--out", folder, *settings)
    assert used.returncode == 2
    assert "already holds a training run; resume it with --resume" in used.stderr.replace("\n", " ")
    assert json.loads((folder / "summary.json").read_text()) == summary


def test_the_makefiles_demo_runs_in_a_fresh_clone_and_again(tmp_path, empg_gym, monkeypatch):
    monkeypatch.chdir(ROOT)
    (command,) = re.findall(r"empg-gym (train .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folder = tmp_path / "runs" / "demo"
    words = command.replace("runs/demo", str(folder)).replace("$(ARGS)", "").split()
    assert str(folder) in words
    words += [part for item in SHORT for part in ("--set", item)]
    first = empg_gym(*words)
    assert first.returncode == 0, first.stderr
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "report.html"}

    second = empg_gym(*words)
    assert second.returncode == 0, second.stderr
    assert f"The run in {folder} is finished" in second.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "report.html"} == kept
