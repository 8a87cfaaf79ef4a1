"""Pages to publish: what identifies a person or a machine is hidden in every text."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from empg_gym.cli.view import view
from empg_gym.errors import ConfigError
from empg_gym.report import write_comparison, write_index, write_report
from empg_gym.report.publish import Publisher
from empg_gym.trajectory import read_trajectories, write_trajectories
from tests.report.samples import evaluation_run, trajectory
from tests.report.test_page_files import blocks


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "run", user="anna", host="titan.lab.example", environ={"MY_TOKEN": "hunter2hunter2"})


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("model /home/bert/models/qwen-3 is loaded", "model [path] is loaded"),
        ('File "/usr/lib/python3/site-packages/x.py", line 3', 'File "[path]", line 3'),
        (r"C:\Users\bert\runs\a and ~/runs/b", "[path] and [path]"),
        ("written by anna on titan", "written by [user] on [host]"),
        ("titan.lab.example:8000 is up", "[host]:8000 is up"),
        ("http://gpu7:8000/v1 and http://node.internal/x", "http://[host]:8000/v1 and http://[host]/x"),
        ("https://bert:secret@api.example.com/v1", "https://[redacted]@api.example.com/v1"),
        ("https://api.example.com/v1?api_key=abc123", "https://api.example.com/v1?api_key=[redacted]"),
        ("ask anna@lab.example or 10.1.2.3", "ask [e-mail] or [address]"),
        ("fe80::1 and 2001:db8:0:0:1:0:0:1", "[address] and [address]"),
        ("key hunter2hunter2", "key [redacted]"),
    ],
)
def test_what_identifies_is_hidden(publisher, text, hidden):
    assert publisher.text(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "go to desk 1 and/or look at mug/lamp",
        "banannas",
        "titanic",
        "http://localhost:8000/v1",
        "http://127.0.0.1:1/",
        "valid/17",
        "std::vector",
        "at 10:20:30",
        "1/2",
        "$ 3.50",
    ],
)
def test_other_texts_stay(publisher, text):
    assert publisher.text(text) == text


def test_the_folders_of_the_run_and_of_this_process_are_hidden_whatever_their_roots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publisher = Publisher(Path("odd") / "run", user="", host="")
    assert publisher.text(f"in {tmp_path}/odd/run/x.json") == "in [path]" and publisher.text(f"{tmp_path}") == "[path]"


def secret_run(folder):
    """A run of somebody called Zebedee, whose names are in every kind of text."""
    run = evaluation_run(folder / "zebedee-run", 2)
    (run / "config.json").write_text(json.dumps({"agent": "exec:/home/zebedee/agent.py", "base_url": "http://gpunode:8000/v1"}))
    rng = np.random.default_rng(0)
    episodes = [trajectory(rng, number, steps=2) for number in range(2)]
    first = episodes[0]
    first.instruction, first.agent = "zebedee's task", "exec:/home/zebedee/agent.py"
    first.info = {"traceback": 'File "/home/zebedee/agent.py"', "zebedee": 1}
    first.steps[0].response = first.steps[0].thought = "I am zebedee"
    first.steps[0].observation = "mail zebedee@lab.example"
    (run / "trajectories.jsonl").unlink()
    write_trajectories(run / "trajectories.jsonl", episodes)
    return run


def test_no_part_of_a_published_page_names_the_user(tmp_path):
    run = secret_run(tmp_path)
    plain = write_report(run)
    assert "zebedee" in everything(plain)
    page = write_report(run, redact=True)
    assert "zebedee" not in everything(page) and "gpunode" not in everything(page)
    changed, kept = blocks(page)["data-chunk-0"][0]["steps"]
    assert changed["response"] == "I am [user]" and "ids" not in changed, "token ids would spell the response"
    assert "entropies" in changed and "ids" in kept
    assert next(iter(read_trajectories(run / "trajectories.jsonl"))).instruction == "zebedee's task", "the run itself is not changed"


def everything(page):
    """Return all texts of a page, inflated."""
    packed = page.read_text(encoding="utf-8").split('<script type="text/plain"')[1:]
    data = [zlib.decompress(b64decode(part.split(">", 1)[1].split("<", 1)[0])).decode() for part in packed]
    return page.read_text(encoding="utf-8").split('<script type="text/plain"')[0] + "".join(data)


def test_comparisons_and_lists_are_published_too(tmp_path, monkeypatch):
    monkeypatch.setattr("empg_gym.report.publish._user", lambda: "zebedee")
    runs = [secret_run(tmp_path / name) for name in ("a", "b")]
    page = write_comparison(runs, tmp_path / "both.html", warnings=["zebedee warns"], redact=True)
    assert "zebedee" not in everything(page)
    assert blocks(page)["data-index"]["run"]["labels"] == ["a/[user]-run", "b/[user]-run"]
    listed = write_index(tmp_path, redact=True).read_text(encoding="utf-8")
    assert "zebedee" not in listed.replace('href="a/zebedee-run/', "").replace('href="b/zebedee-run/', "")
    assert "zebedee" not in everything(runs[0] / "report.html")


def test_the_command_says_what_it_hides(tmp_path):
    import typer

    app = typer.Typer()
    app.command()(view)
    run = secret_run(tmp_path)
    assert CliRunner().invoke(app, [str(run), "--redact"]).exit_code == 0 and "zebedee" not in everything(run / "report.html")
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output.split())
    for part in ("absolute paths", "names of this machine and its user", "e-mail and IP addresses", "passwords in URLs"):
        assert part in shown
    assert isinstance(CliRunner().invoke(app, [str(run), "--redact", "--follow"]).exception, ConfigError)
