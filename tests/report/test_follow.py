"""The live page: it follows a run that is being written, and only serves the local machine."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys

import httpx
import numpy as np
import pytest

from empg_gym.errors import ConfigError, DataError
from empg_gym.report.follow import ReportServer
from empg_gym.trajectory import write_trajectories
from tests.report.browser import text_of, wait
from tests.report.samples import training_run, trajectory


@pytest.fixture
def live(tmp_path):
    run = training_run(tmp_path / "run", 30)
    server = ReportServer(run)
    server.start()
    yield run, server
    server.close()


def grow(run):
    with (run / "metrics.jsonl").open("a") as file:
        for step in range(61, 71):
            line = {"phase": "rl", "step": step, "seconds": 400.0, "train/success": 0.9, "eval/valid_unseen/success": 0.95}
            file.write(json.dumps(line) + "\n")
    rng = np.random.default_rng(5)
    write_trajectories(run / "trajectories.jsonl", [trajectory(rng, number, training=True) for number in range(30, 37)])


def test_data_follow_the_files_and_only_new_lines_are_read(live):
    run, server = live
    first = httpx.get(server.url + "version").json()["version"]
    assert httpx.get(server.url + "version").json()["version"] == first
    before = server.run.episodes
    grow(run)
    assert httpx.get(server.url + "version").json()["version"] > first
    assert server.run.episodes is before and len(before.rows) == 37
    assert "95.0 %" in httpx.get(server.url + "overview").text
    assert httpx.get(server.url + "data/chunk-1").status_code == 200
    assert httpx.get(server.url + "data/chunk-2").status_code == 404


def test_a_file_that_was_replaced_is_read_again_from_the_beginning(live):
    run, server = live
    httpx.get(server.url + "version")
    (run / "trajectories.jsonl").unlink()
    write_trajectories(run / "trajectories.jsonl", [trajectory(np.random.default_rng(9), 0, training=True)])
    httpx.get(server.url + "version")
    assert len(server.run.episodes.rows) == 1


def test_a_damaged_line_pauses_the_page_and_is_reported(live):
    run, server = live
    httpx.get(server.url + "version")
    with (run / "trajectories.jsonl").open("a") as file:
        file.write("damaged\n")
    answer = httpx.get(server.url + "version")
    assert answer.status_code == 503 and "line 31" in answer.text


def test_a_file_that_disappears_while_it_is_read_can_be_requested_again(live, monkeypatch):
    _, server = live

    def gone(folder):
        raise FileNotFoundError("tokenizer.json of a checkpoint that was deleted")

    with monkeypatch.context() as broken:
        broken.setattr("empg_gym.report.tokens.find_tokenizer", gone)
        assert httpx.get(server.url + "version").status_code == 200
        assert httpx.get(server.url + "data/vocabulary").status_code == 503
    assert httpx.get(server.url + "data/vocabulary").status_code == 200


def test_only_the_local_machine_is_served(live):
    _, server = live
    assert server.url.startswith("http://127.0.0.1:")
    assert httpx.get(server.url, headers={"Host": "evil.example"}).status_code == 421
    assert httpx.post(server.url).status_code == 501
    for path in ("data/../../etc/passwd", "etc/passwd", "data/chunk--1", "data/chunk-x", "data/"):
        assert httpx.get(server.url + path).status_code == 404
    assert "connect-src 'self'" in html.unescape(httpx.get(server.url).text)


def test_a_port_in_use_and_a_folder_without_a_run(live, tmp_path):
    _, server = live
    with pytest.raises(ConfigError, match="can't be used"):
        ReportServer(tmp_path / "run", int(server.url.rsplit(":", 1)[1].strip("/")))
    with pytest.raises(DataError, match="no run at"):
        ReportServer(tmp_path / "none")


@pytest.mark.browser
def test_curves_grow_in_an_open_page(live, browser):
    run, server = live
    browser.get(server.url)
    wait(browser, lambda d: d.execute_script("return document.documentElement.dataset.ready"))
    last = "return document.querySelector('#charts .plot')?.getAttribute('aria-valuemax')"
    wait(browser, lambda d: d.execute_script(last) == "60")
    browser.execute_script("document.querySelector('#config-fold').open = true")
    grow(run)
    wait(browser, lambda d: d.execute_script(last) == "70")
    wait(browser, lambda d: "95.0 %" in text_of(d, ".tiles"))
    assert browser.execute_script("return document.querySelector('#config-fold').open"), "what was opened stays open"
    assert text_of(browser, "#nav-count") == "37"
    browser.execute_script("location.hash = '#/episode/37'")
    wait(browser, lambda d: d.execute_script("return !!document.querySelector('#step-1 .token')"))
    server.close()
    wait(browser, lambda d: "the server has gone" in text_of(d, "#live"))


def test_the_command_follows_until_it_is_interrupted(tmp_path):
    run = training_run(tmp_path / "run", 2)
    code = "import typer; from empg_gym.cli.view import view; a = typer.Typer(); a.command()(view); a()"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, str(run), "--follow"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = process.stdout.readline().split("live report: ")[1].split(" ")[0]
        assert httpx.get(address).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 0
        assert "stopped" in process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
