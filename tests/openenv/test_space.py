"""Containers and Spaces without Docker: the manifest passes, the recipe works, and the probe holds what the runtime level checks."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import metadata, version

import httpx
import pytest
import yaml
from openenv.cli.__main__ import app as openenv_command
from packaging.requirements import Requirement
from typer.testing import CliRunner

from empg_gym.recipe import EnvRecipe
from empg_gym.serve.openenv import TextAction
from empg_gym.serve.openenv_client import TextEnvClient
from empg_gym.serve.space_files import write_space
from tests.openenv.serving import BENCHMARKS
from tests.openenv.test_workers import ROOT


@pytest.fixture(scope="module", params=BENCHMARKS)
def space(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spaces") / request.param
    write_space(EnvRecipe(BENCHMARKS[request.param]), folder)
    return request.param, folder


def _instructions(folder):
    """Return the instructions of the Dockerfile as (name, argument)."""
    lines = (folder / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip() and not line.startswith("#")]


def _of(folder, name):
    return [argument for found, argument in _instructions(folder) if found == name]


def _validated(*arguments):
    result = CliRunner().invoke(openenv_command, ["validate", *map(str, arguments), "--json"])
    return result, json.loads(result.stdout)


def test_the_manifest_passes(space):
    result, report = _validated(space[1], "--level", "static")
    assert result.exit_code == 0, result.output
    assert report["verdict"].upper() == "PASS", report


def test_every_level_without_docker(space):
    result, report = _validated(space[1], "--skip-build")
    assert result.exit_code == 0, result.output
    assert not [check for check in report["results"] if check["status"].upper() not in ("PASS", "SKIP")], report


def test_the_card(space):
    name, folder = space
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["sdk"], card["app_port"], card["base_path"], card["license"]) == ("docker", 8000, "/web", "apache-2.0")
    assert "openenv" in card["tags"] and len(card["short_description"]) <= 60
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {card["colorFrom"], card["colorTo"]} <= colors
    assert BENCHMARKS[name] in body and "{{" not in body
    manifest = yaml.safe_load((folder / "openenv.yaml").read_text())
    assert (manifest["port"], manifest["app"]) == (card["app_port"], "server.app:app")


def test_the_recipe_is_sound(space):
    _, folder = space
    names = [name for name, _ in _instructions(folder)]
    assert names[0] == "FROM" and names[-1] == "CMD" and names.index("COPY") < names.index("RUN") < names.index("USER")
    (argument,) = _of(folder, "ARG")
    requirement = Requirement(shlex.split(argument.partition("=")[2])[0])
    assert requirement.name == "empg-gym" and requirement.specifier.contains(version("empg-gym"))
    assert requirement.extras <= set(metadata("empg-gym").get_all("Provides-Extra"))
    install = shlex.split(_of(folder, "RUN")[0])
    assert install[:2] == ["pip", "install"] and install[-1] == "$PACKAGE"
    assert (folder / os.path.relpath(install[install.index("--find-links") + 1], "/app")).is_dir()


def _port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def container(space):
    """Run the recipe's command in the folder, as the container would; yield the address."""
    _, folder = space
    place = lambda text: text.replace("/app", str(folder))  # noqa: E731
    variables = dict(place(part).split("=", 1) for argument in _of(folder, "ENV") for part in shlex.split(argument))
    environment = {**os.environ, **variables, "HOME": os.environ["HOME"], "PORT": str(_port()), "PYTHONPATH": str(ROOT)}
    run = lambda argument: [sys.executable, *json.loads(argument)[1:]]  # noqa: E731
    _, prepare, _ = _of(folder, "RUN")
    subprocess.run([sys.executable, *shlex.split(prepare)[1:]], cwd=folder, env=environment, check=True)
    built = _files(folder / "cache")
    process = subprocess.Popen(run(_of(folder, "CMD")[0]), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    check = run(re.search(r"CMD (\[.*\])", _of(folder, "HEALTHCHECK")[0])[1])
    deadline = time.monotonic() + 300
    while subprocess.run(check, cwd=folder, env=environment, stderr=subprocess.DEVNULL).returncode:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield folder, f"http://127.0.0.1:{environment['PORT']}"
    process.send_signal(signal.SIGTERM)
    process.wait(300)
    process.stderr.close()
    assert _files(folder / "cache") == built, "the server wrote to the image"


def _files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_container_holds_what_the_runtime_level_checks(container):
    folder, url = container
    probe = json.loads((folder / "validation" / "runtime.json").read_text())
    low, high = yaml.safe_load((folder / "openenv.yaml").read_text())["validation"]["reward"]["range"]
    reset = probe["reset"]
    with TextEnvClient(base_url=url).sync() as client:
        client.reset(episode_id=reset["episode_id"], seed=reset["seed"], **reset["options"])
        for count, action in enumerate(probe["actions"], 1):
            result = client.step(TextAction(**action))
            state = client.state()
            assert isinstance(result.reward, float) and low <= result.reward <= high
            assert (state.episode_id, state.step_count) == (reset["episode_id"], count)
        assert result.done and result.observation.success and result.reward == high
    assert httpx.get(f"{url}/web", timeout=300, follow_redirects=True).status_code == 200
    result, report = _validated("--url", url, "--timeout", "300")
    assert result.exit_code == 0 and report["passed"], report
