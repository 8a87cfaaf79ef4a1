"""`empg-gym eval` and `empg-gym compare`, as a user runs them; torch can't be imported in any of it."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from empg_gym import __version__
from empg_gym.cli import main
from empg_gym.errors import ConfigError, DataError
from empg_gym.evaluation import evaluate
from empg_gym.evaluation.live import LiveTable, results_table
from empg_gym.evaluation.settings import read_prices, read_settings, read_tasks
from empg_gym.runs.redaction import is_secret
from empg_gym.scoring.format import compact, with_interval
from empg_gym.scoring.prices import Prices
from empg_gym.trajectory import read_trajectories
from tests.agents.server import ChatServer, serving
from tests.toy import TOY_ID

ROOT = Path(__file__).parents[2]
TRAINERS = ("torch", "transformers", "tokenizers", "safetensors")


@pytest.fixture
def empg_gym(monkeypatch, capsys):
    """Run the command line in this process, in which none of the trainer's packages can be imported; return code, output and errors."""
    monkeypatch.setenv("NO_COLOR", "1")
    for name in TRAINERS:
        monkeypatch.setitem(sys.modules, name, None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["empg-gym", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield run
    for number, handler in handlers:
        signal.signal(number, handler)


def test_the_three_benchmarks_in_one_command_and_compared(tmp_path, empg_gym):
    environments = ("alfworld@valid_seen", "webshop", "deepsearch")
    for agent in ("expert", "random"):
        code, out, err = empg_gym("eval", *environments, "--agent", agent, "-n", "2", "--out", tmp_path / agent)
        assert (code, err) == (0, "") and "report.html" in out
    page = (tmp_path / "random" / "report.html").read_text()
    summary = json.loads((tmp_path / "expert" / "summary.json").read_text())
    assert set(summary["results"]) == {"EMPG/ALFWorld-v0", "EMPG/WebShop-v0", "EMPG/DeepSearch-v0"}
    for entry in summary["results"].values():
        assert (entry["episodes"], entry["errors"], entry["success_rate"], entry["score_mean"]) == (2, 0, 1.0, 1.0)
        assert entry["split_rule"] and entry["data_fingerprint"] and entry["prompt_hash"]
        assert entry["data"] == "embedded world" and f"{entry['env_id']} (embedded world)" in out
    assert "Evaluation in ALFWorld (embedded world), DeepSearch (embedded world), WebShop (embedded world)" in page
    assert summary["results"]["EMPG/ALFWorld-v0"]["wording"] == "new"
    assert set(summary["results"]["EMPG/ALFWorld-v0"]["by_domain"]) == {"in_domain"}
    assert {path.name for path in (tmp_path / "expert").iterdir()} == {"config.json", "trajectories.jsonl", "summary.json", "report.html"}
    code, out, err = empg_gym("compare", tmp_path / "random", tmp_path / "expert")
    assert (code, err) == (0, "") and out.count("EMPG/") == 6
    code, out, _ = empg_gym("compare", tmp_path / "random", tmp_path / "expert", "--json")
    assert code == 0 and {cell["difference"] for cell in json.loads(out)["cells"] if cell["metric"] == "success"} == {None, 1.0}
    code, out, err = empg_gym("eval", "--rescore", tmp_path / "random")
    assert (code, err) == (0, "") and "6 scored again; 0 scores changed" in out


def test_a_key_and_no_gpu_give_a_table_and_a_page(tmp_path, monkeypatch, empg_gym):
    """A user with an API: key and address in the environment, one command, all three benchmarks."""
    with serving(ChatServer(key="sk-of-the-test")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        names = ["alfworld", "webshop", "deepsearch"]
        code, out, err = empg_gym(
            "eval",
            *names,
            "-a",
            "openai:some-model",
            "-n",
            "2",
            "--prices",
            "1,2",
            "--set",
            "limits.max_steps=2",
            "--out",
            tmp_path / "run",
        )
    assert (code, err) == (0, "") and out.count("EMPG/") >= 3 and "[" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["agent"] == "openai:some-model" and len(summary["results"]) == 3
    for entry in summary["results"].values():
        assert (entry["episodes"], entry["errors"]) == (2, 0) and entry["tokens"]["prompt"] > 0
        assert entry["entropy"]["is_bound"] is True and entry["cost"]["total"] > 0
    assert "some-model" in (tmp_path / "run" / "report.html").read_text()
    assert all("sk-of-the-test" not in path.read_text() for path in (tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    "arguments, code, expected",
    [
        (["--fail-on-error", "--set", "env.fail_on=open door 1"], 1, "episodes failed"),
        (["--set", "env.fail_on=open door 1"], 0, "episodes failed"),
        (["--fail-on-error"], 0, "100.0"),
        (["--prices", "1,2", "--tasks", "0:3,test-7", "--set", "limits.max_steps=1"], 0, "cost 0.0000"),
    ],
)
def test_exit_codes(tmp_path, arguments, code, expected, empg_gym):
    numbers = [] if "--tasks" in arguments else ["-n", "20"]
    found, out, err = empg_gym("eval", TOY_ID, "-a", "expert", *numbers, "--out", tmp_path / "run", "--no-report", *arguments)
    assert (found, err) == (code, "") and expected in out


def test_the_options_of_eval_are_read_from_the_model_and_only_when_needed(empg_gym):
    code, out, err = empg_gym("eval", "--help")
    assert (code, err) == (0, "") and all(flag in out for flag in ("--agent", "--episodes", "--show-admissible", "--backend", "--rescore"))
    loaded = "import sys\nfrom empg_gym.cli import _mount\n_mount()\nprint(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "empg_gym.cli.eval" in modules and not {"pydantic", "empg_gym.evaluation"} & set(modules)


def test_the_version(empg_gym):
    assert empg_gym("--version") == (0, f"empg-gym {__version__}\n", "")


def test_errors_say_why_and_how_to_resume(tmp_path, empg_gym):
    """The printed command resumes in the same folder."""
    marker, folder = tmp_path / "marker", tmp_path / "run with a space"
    marker.touch()
    agent = ["-a", "python:tests.evaluation.agents:SlowAgent", "--set", f"agent.marker={marker}"]
    code, out, err = empg_gym("eval", TOY_ID, *agent, "--tasks", "0,1", "--retries", "0", "--no-report", "--out", folder)
    assert (code, err) == (0, "") and f"{TOY_ID}: 1 episode failed:\n  1 × RuntimeError: the marker is there\n" in out
    (again,) = re.findall(r"to run only what failed again: empg-gym (.*)", out)
    marker.unlink()
    code, out, _ = empg_gym(*shlex.split(again))
    assert code == 0 and "resuming: 1 of 2 episodes are done" in out and "failed" not in out


def test_only_errors_give_exit_code_1(tmp_path, monkeypatch, empg_gym):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def act(messages):\n    raise KeyError(messages[0]['role'])\n")
    code, out, err = empg_gym("eval", "tests.toy:" + TOY_ID, "-a", "python:broken:act", "-n", "3", "--no-report")
    assert (code, err) == (1, "") and "3 episodes failed:\n  3 × KeyError: 'system'" in out
    (again,) = re.findall(r"to run only what failed again: empg-gym (.*)", out)
    assert "--out runs/eval/python-" in again
    code, out, _ = empg_gym(*shlex.split(again))
    assert code == 1 and len(list((tmp_path / "runs" / "eval").iterdir())) == 1
    (episode, *_) = read_trajectories(next(tmp_path.glob("runs/eval/*/trajectories.jsonl")))
    trace = episode.info["traceback"].splitlines()
    assert trace[1].endswith('broken.py", line 2, in act') and trace[-1] == "KeyError: 'system'"


def test_the_printed_command_masks_keys_and_keeps_the_rest(tmp_path, empg_gym):
    secret = ["--set", "agent.api_key=sk-of-mine", "--set=agent.Token=sk-of-mine", "--set", "agent.env={A='sk-of-mine\n'}"]
    kept = ["--set", "agent.max_tokens=5", "--set=agent.max_row_tokens=9", "--set", "agent.api_key_env=MINE", "--set", "env.doors=2"]
    agent = ["-a", "python:tests.evaluation.agents:BrokenAgent", *secret, *kept]
    code, out, _ = empg_gym("eval", TOY_ID, *agent, "-n", "1", "--no-report", "--out", tmp_path / "run")
    (again,) = re.findall(r"to run only what failed again: empg-gym (.*)", out)
    masked = ["--set", "agent.api_key=…", "--set=agent.Token=…", "--set", "agent.env=…", *kept]
    assert code == 1 and shlex.split(again)[4 : 4 + len(masked)] == masked
    config = (tmp_path / "run" / "config.json").read_text()
    assert "sk-of-mine" not in out + config and '"max_tokens": 5' in config and '"api_key_env": "MINE"' in config


@pytest.mark.parametrize(
    "name", ["api_key", "agent.OPENAI_API_KEY", "agent.env", "hf_token", "token", "client_secret", "extra_headers", "password"]
)
def test_options_that_may_hold_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["agent.max_tokens", "max_response_tokens", "token_ids", "api_key_env", "env.doors", "agent.environment"])
def test_options_that_hold_no_secret(name):
    assert not is_secret(name)


@pytest.mark.parametrize("given", ["", "Open doors."])
def test_a_custom_system_prompt(tmp_path, given, empg_gym):
    code, _, err = empg_gym("eval", TOY_ID, "-a", "expert", "-n", "1", "--no-report", "--system-prompt", given, "--out", tmp_path / "run")
    (line,) = (tmp_path / "run" / "trajectories.jsonl").read_text().splitlines()
    assert (code, err, json.loads(line)["system_prompt"]) == (0, "", given)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["eval"], "name environments (or a --panel) and an agent"),
        (["eval", "alfwrld", "-a", "expert"], "did you mean 'alfworld'"),
        (["eval", TOY_ID, "-a", "exprt"], "did you mean 'expert'"),
        (["eval", TOY_ID, "-a", "openai:gpt"], "OPENAI_API_KEY"),
        (["eval", TOY_ID, "-a", "checkpoint:nowhere"], "pip install 'empg-gym[train]'"),
        (["eval", TOY_ID, "-a", "expert", "--set", "evn.x=1"], "did you mean 'env'"),
        (["eval", TOY_ID, "-a", "expert", "--rescore", "x"], "--rescore takes a finished run alone"),
        (["eval", "--rescore", "nowhere"], "config.json is missing"),
        (["compare", "nowhere"], "no run at nowhere"),
        (["eval", TOY_ID, "-a", "expert", "-n", "1", "--out", "{file}"], "can't be written to"),
        (["eval", TOY_ID, "-a", "expert", "-n", "1", "--out", "{file}/run"], "can't be written to"),
        (["eval", TOY_ID, "-a", "expert", "-n", "1", "--set", "limits.max_steps=abc"], "whole number of at least 1"),
        (["eval", TOY_ID, "-a", "openai:m", "--base-url", "http://x", "--set", "agent.timeout=abc"], "can't use the timeout"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, arguments, expected, empg_gym):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").touch()
    code, out, err = empg_gym(*(argument.format(file=tmp_path / "file") for argument in arguments))
    assert code == 2 and expected in err and "Traceback" not in err + out and err.count("\n") == 1


def watched(console):
    evaluate(TOY_ID, "random", episodes=10, repeats=2, watch=LiveTable(console))
    return console.file.getvalue()


def test_the_live_table_at_a_terminal():
    text = watched(Console(file=io.StringIO(), force_terminal=True, width=140))
    assert "episodes/s" in text and TOY_ID in text


def test_without_a_terminal_lines_are_written_at_a_bounded_rate(monkeypatch):
    assert watched(Console(file=io.StringIO(), width=140)) == ""
    monkeypatch.setattr("empg_gym.evaluation.live.QUIET_SECONDS", 0.0)
    lines = watched(Console(file=io.StringIO(), width=140)).splitlines()
    assert len(lines) == 20 and lines[-1].startswith(f"{TOY_ID}: 20/20 episodes, success ")
    assert "\x1b" not in "".join(lines)


def test_results_without_a_scored_episode_can_be_shown():
    summary = evaluate(TOY_ID, "expert", episodes=2, env_kwargs={"doors": 1, "fail_on": "open door 1"})
    console = Console(file=io.StringIO(), width=140)
    console.print(results_table(summary.results))
    assert "–" in console.file.getvalue()


def test_the_table_has_pass_at_k_where_tasks_are_repeated():
    console = Console(file=io.StringIO(), width=140)
    summary = evaluate(TOY_ID, "random", episodes=10, repeats=3)
    console.print(results_table(summary.results))
    head, row, *_ = console.file.getvalue().splitlines()
    place = head.index("pass@3 %")
    assert row[place:].split()[0] == f"{100 * summary.results[TOY_ID]['pass_at_k']['3']:.1f}"
    console.print(results_table(evaluate(TOY_ID, "random", episodes=10).results))
    assert console.file.getvalue().count("pass@") == 1


def test_numbers_for_people():
    assert with_interval(0.5, (0.25, 0.75)) == "50.0 [25.0, 75.0]"
    assert with_interval(None, None) == "–"
    assert [compact(number) for number in (0, 999, 12_345, 4_560_000, 7.1e9)] == ["0", "999", "12.3k", "4.56M", "7.1G"]


def test_settings_tasks_and_prices(tmp_path):
    settings = read_settings(["env.data=a=b", "env.WebShop.size=3", "agent.seed=false", "limits.max_seconds=1.5", 'env.types=["x"]'])
    assert settings.env == {"data": "a=b", "WebShop": {"size": 3}, "types": ["x"]}
    assert settings.agent == {"seed": False} and settings.limits == {"max_seconds": 1.5}
    (tmp_path / "tasks.txt").write_text("a,b\n\n c \n")
    assert read_tasks(["1,train-2", "5:8", f"@{tmp_path / 'tasks.txt'}"]) == ["1", "train-2", 5, 6, 7, "a,b", "c"]
    assert read_prices("0.15,0.6") == Prices(0.15, 0.6)


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: read_settings(["env"]), ConfigError),
        (lambda: read_settings(["env.=1"]), ConfigError),
        (lambda: read_settings(["env.a=1", "env.a.b=2"]), ConfigError),
        (lambda: read_tasks(["5:5"]), ConfigError),
        (lambda: read_tasks(["@nowhere"]), DataError),
        (lambda: read_prices("1"), ConfigError),
        (lambda: read_prices("a,b"), ConfigError),
        (lambda: read_prices("-1,1"), ConfigError),
        (lambda: read_prices("nan,1"), ConfigError),
        (lambda: read_prices("1,inf"), ConfigError),
    ],
)
def test_unreadable_options(call, error):
    with pytest.raises(error):
        call()
