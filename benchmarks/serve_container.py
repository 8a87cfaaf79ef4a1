"""The containers of the three benchmarks, built and judged with Docker by OpenEnv's own validation, at every level that it offers.

    pip wheel --no-deps --wheel-dir build/wheels .
    .venv-openenv/bin/python -m benchmarks.serve_container --wheels build/wheels

`make test-adapters` makes the environment. Without a Docker daemon the script says so and changes nothing.

Rules:
    - The folder is what `empg-gym serve space` writes, with the wheel of this checkout in `wheels/`, as its README says.
    - `package` is the report of `openenv validate FOLDER`: the image is built, and a probe episode is replayed in it without a network.
    - A check that OpenEnv names without having a grader for it is skipped; the verdict is then `warn`, with exit status 0.
    - `url` is the report of `openenv validate --url` on a container of that image, and `episodes` are expert's episodes through
      `empg_gym.connect` to it, compared with `gymnasium.make` in this process.
    - OpenEnv measures the network from a helper container of its own, whose image it pulls from Docker Hub; `--helper-image` names
      another image with Python, for a machine that can't reach it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

import empg_gym
from benchmarks.machine import machine
from empg_gym.errors import EMPGGymError
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id
from empg_gym.serve.space_files import write_space

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "empg_gym" / "serve" / "space"
RESULT = ROOT / "benchmarks" / "results" / "serve_container.json"
ENVIRONMENTS = ("alfworld", "webshop", "deepsearch")
EPISODES = 20


def docker(*arguments: str) -> str:
    """Return what a command of the Docker client prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def missing() -> str | None:
    """Return what this machine lacks for the benchmark, in a sentence, or None."""
    if shutil.which("docker") is None:
        return "the containers are not built: this machine has no `docker` command"
    found = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else "the containers are not built: no Docker daemon answers; start one"


def validate(folder: Path, helper_image: str | None) -> tuple[dict[str, Any], str]:
    """Return OpenEnv's report about a folder at all levels, and the image that it built."""
    from openenv.validation import run_validation
    from openenv.validation.providers.docker import DockerValidationProvider

    provider = DockerValidationProvider(**({} if helper_image is None else {"helper_image": helper_image}))
    report = run_validation(folder, provider=provider)
    image = ""
    row: dict[str, Any] = {"verdict": report.verdict.value, "passed": [], "skipped": {}, "failed": {}}
    for check in report.results:
        image = check.measured.get("image_ref", image)
        reason = "; ".join(check.evidence)
        if check.status.value == "pass":
            row["passed"].append(check.check_id)
        elif check.status.value == "skip":
            row["skipped"].setdefault(reason, []).append(check.check_id)
        else:
            row["failed"][check.check_id] = reason
    return row, image


def base_image() -> str:
    """Return the image on which the containers are built, as it is on this machine."""
    name = next(line.split()[1] for line in (SPACE / "Dockerfile.jinja").read_text().splitlines() if line.startswith("FROM"))
    inside = docker("run", "--rm", name, "sh", "-c", "python --version; . /etc/os-release; echo $PRETTY_NAME").splitlines()
    digests = docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", name).splitlines()
    pulled = any(digest.startswith(name.partition(":")[0] + "@") for digest in digests)
    return f"{name}{'' if pulled else ' built on this machine'}, {', '.join(inside)}"


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """Run an image; yield its address."""
    name = docker("run", "--detach", "--publish", "127.0.0.1::8000", image)
    try:
        url = "http://" + docker("port", name, "8000/tcp").splitlines()[0]
        deadline = time.monotonic() + 300
        while docker("inspect", "--format", "{{.State.Status}}", name) == "running":
            with contextlib.suppress(EMPGGymError):
                empg_gym.connect(url).close()
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"the server in the container doesn't answer: {docker('logs', name)[-2000:]}")
            time.sleep(0.5)
        yield url
    finally:
        docker("rm", "--force", name)


def compare(url: str, env_id: str) -> dict[str, int]:
    """Play expert's episodes in the container and in this process."""
    served, local, steps, differing = empg_gym.connect(url), gym.make(env_id), 0, 0
    for seed in range(EPISODES):
        outcome: tuple[Any, ...] = local.reset(seed=seed)
        equal, ended = served.reset(seed=seed) == outcome, False
        while not ended and (action := local.unwrapped.expert()) is not None:  # type: ignore[attr-defined]
            outcome = local.step(action)
            equal = equal and served.step(action) == outcome
            steps, ended = steps + 1, outcome[2] or outcome[3]
        differing += not equal
    served.close()
    return {"episodes": EPISODES, "steps": steps, "differing": differing}


def judge(name: str, folder: Path, helper_image: str | None) -> dict[str, Any]:
    """Build and judge the container of an environment."""
    from openenv.cli._validation import validate_running_environment

    package, image = validate(folder, helper_image)
    row: dict[str, Any] = {"package": package}
    if image:
        row["image_mb"] = round(int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6)
        with container(image) as url:
            found = validate_running_environment(url, timeout_s=300)
            row["url"] = {criterion["id"]: criterion["passed"] for criterion in found["criteria"]}
            row["episodes"] = compare(url, find_id(name))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the wheel of this checkout")
    parser.add_argument("--helper-image", metavar="IMAGE@sha256:…", help="image with Python for OpenEnv's helper containers")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if (why := missing()) is not None:
        raise SystemExit(why)
    record: dict[str, Any] = {
        "machine": machine("openenv", "empg-gym"),
        "docker": docker("version", "--format", "{{.Server.Version}}"),
        "helper_image": "OpenEnv's own" if options.helper_image is None else "replaced by a local one",
        "environments": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        for name in ENVIRONMENTS:
            folder = Path(temporary, name)
            write_space(EnvRecipe(find_id(name)), folder)
            shutil.copytree(options.wheels, folder / "wheels", dirs_exist_ok=True)
            record["environments"][name] = judge(name, folder, options.helper_image)
            print(name, json.dumps(record["environments"][name]), flush=True)
    record["base_image"] = base_image()
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
