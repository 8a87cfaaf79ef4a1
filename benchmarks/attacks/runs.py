"""Forged folders of runs: settings that a file must not decide, pointers, edited lines, leftovers, killed clean-ups."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.attacks.models import write_model
from benchmarks.attacks.outcome import Case, Outcome, tally
from benchmarks.soak_memory import open_files
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import DataError, EMPGGymError
from empg_gym.evaluation import evaluate, rescore
from empg_gym.evaluation.environments import find_recipe
from empg_gym.report import write_report
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.checkpoint import prune
from empg_gym.trainers.run.latest import named_by
from empg_gym.trainers.run.training_origin import settings_of_run

STOLEN = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "HOME", "cache": "stolen.sqlite"}
FORGED: dict[str, dict[str, Any]] = {
    "deepsearch": {
        "judge": STOLEN,
        "reward": "llm_judge",
        "backend": "http://127.0.0.1:9/",
        "visit": "fetch",
        "corpus": "/etc/passwd",
        "mix": "/etc/passwd",
        "web": {"cache": "record", "recording": "x.jsonl"},
        "data": "/etc/passwd",
        "world_size": 10**9,
        "task_types": ["x"] * 10**4,
        "protocol": "x" * 10**6,
        "top_k": 1e999,
    },
    "webshop": {
        "data": "/etc",
        "backend": "browser",
        "search": "http://127.0.0.1:9/",
        "num_products": 10**9,
        "price_seed": 10**40,
        "browser": "/bin/sh",
        "human": "/etc/passwd",
        "goals": {"path": "/etc/passwd"},
    },
    "alfworld": {
        "data": "/etc",
        "engine": "textworld",
        "size": ["small"] * 10**4,
        "split": "../../etc",
        "max_steps": 10**40,
        "expert": {"module": "os:system"},
        "wording": float("inf"),
    },
}
"""Arguments in a training run's file that must not be taken over, by environment."""


def settings(folder: Path) -> Outcome:
    """Name each setting in a training run's file, and make the recipe of an evaluation that uses the run's settings."""
    run = folder / "run" / "checkpoints" / "rl-000001"
    run.mkdir(parents=True)
    items = [(env, place, name) for env, names in FORGED.items() for place in ("options", "embedded_options") for name in names]

    def holds(item: tuple[str, str, str]) -> bool:
        env, place, name = item
        given = find_recipe(env, chat=ChatSettings())
        config = TrainConfig.model_validate({"model": {"name": "x"}, "env": {"id": given.env_id}}).model_dump(mode="json")
        config["env"][place] = {name: FORGED[env][name]}
        (folder / "run" / "config.json").write_text(json.dumps(config))
        try:
            found = settings_of_run(run)
        except DataError:
            return True
        assert found is not None
        recipe = given.with_training_defaults(found.recipe)
        return recipe.arguments.get(name) != FORGED[env][name] and (f"env.{name}" in recipe.ignored or name in ("split", "max_steps"))

    return tally(items, holds, "what is ignored is named")


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """Accept connections on the loopback; yield the port and what they sent."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        received.append(connection.recv(1 << 16))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def theft(folder: Path) -> Outcome:
    """Evaluate a forged checkpoint whose file wants a key of the environment sent to a server; nobody may connect to it."""
    write_model(folder / "run" / "checkpoints" / "rl-000001")
    (folder / "run" / "checkpoints" / "latest").write_text("rl-000001\n")
    with listening() as (port, received), patch.dict(os.environ, {"A_KEY": "sEcr3t-Value-0123"}), contextlib.chdir(folder):
        address = f"http://127.0.0.1:{port}"
        judge = {"base_url": f"{address}/v1", "model": "m", "api_key_env": "A_KEY", "cache": str(folder / "stolen.sqlite")}
        env = {"id": "EMPG/DeepSearch-v0", "options": {"judge": judge, "reward": "llm_judge", "backend": address}, "max_steps": 1}
        config = TrainConfig.model_validate({"model": {"name": "x"}, "env": env})
        (folder / "run" / "config.json").write_text(config.model_dump_json())
        options = {"device": "cpu", "max_response_tokens": 2}
        out = folder / "out"
        evaluate(
            "deepsearch@test", f"checkpoint:{folder / 'run'}", tasks=[0], out=out, agent_options=options, env_kwargs={"world_size": 200}
        )
        written = "".join(path.read_text() for path in out.rglob("*") if path.is_file())
    fine = not received and "sEcr3t" not in written and address not in written and not (folder / "stolen.sqlite").exists()
    return 1, int(fine), f"{len(received)} connections"


def pointers(folder: Path) -> Outcome:
    """Name a checkpoint outside the folder as the latest one."""
    names = ["../../elsewhere", "/etc", "a/b", "..", "", "a\nb", "x" * 600, "\x00", "rl-000001/../../x"]

    def holds(name: str) -> bool:
        (folder / "latest").write_text(name)
        try:
            named_by(folder / "latest")
        except DataError:
            return True
        return False

    return tally(names, holds, "")


def rescored(folder: Path) -> Outcome:
    """Forge the configuration of an evaluation that is scored again."""
    evaluate("alfworld@valid_seen", "random", episodes=2, out=folder / "run", env_kwargs={"max_steps": 2})
    whole = json.loads((folder / "run" / "config.json").read_text())
    [key] = whole["environments"]
    forged: list[tuple[str, object]] = [("kwargs", {name: value, "split": "valid_seen"}) for name, value in FORGED["deepsearch"].items()]
    forged += [("env_id", "os:system"), ("env_id", "benchmarks.attacks.imported:X-v0"), ("kwargs", 7), ("kwargs", [])]

    def holds(item: tuple[str, object]) -> bool:
        config = json.loads(json.dumps(whole))
        config["environments"][key][item[0]] = item[1]
        (folder / "run" / "config.json").write_text(json.dumps(config))
        shutil.rmtree(folder / "run" / "rescored", ignore_errors=True)
        with listening() as (_, received), contextlib.suppress(EMPGGymError):  # one sentence, or scores that are kept
            rescore(folder / "run")
        return not received

    return tally(forged, holds, "scores are kept, or one sentence refuses the run")


def lines(folder: Path) -> Outcome:
    """Edit, double, copy and damage the lines of an evaluation that is resumed; nothing may be written, and the line is named."""
    for name, seed in (("run", 0), ("other", 1)):
        evaluate("alfworld@valid_seen", "random", episodes=3, out=folder / name, env_kwargs={"max_steps": 2}, seed=seed)
    path = folder / "run" / "trajectories.jsonl"
    own, foreign = path.read_text().splitlines(), (folder / "other" / "trajectories.jsonl").read_text().splitlines()
    forged = {
        "a raised score": own[0].replace('"score":0.0', '"score":1.0'),
        "a success": own[0].replace('"success":false', '"success":true'),
        "another seed": own[0].replace('"seed":', '"seed":1'),
        "another task": own[0].replace(json.loads(own[0])["task"], json.loads(own[1])["task"]),
        "a line of another run": foreign[0],
        "doubled": own[1],
        "no JSON": "{",
        "deep JSON": "[" * 100_000,
        "an absurd number": own[0].replace('"score":0.0', f'"score":1{"0" * 400}'),
        "NaN": own[0].replace('"score":0.0', '"score":NaN'),
    }

    def holds(kind: str) -> bool:
        path.write_text("\n".join([forged[kind], *own[1:]]) + "\n")
        before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        try:
            evaluate("alfworld@valid_seen", "random", episodes=3, out=folder / "run", env_kwargs={"max_steps": 2})
        except DataError as error:
            return "line" in str(error) and {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
        return False

    return tally([kind for kind in forged if forged[kind] != own[0]], holds, "the line is named, and nothing is written")


def leftovers(folder: Path) -> Outcome:
    """Start evaluations in folders with files that killed processes left, and a clean-up of checkpoints that is killed."""
    names = [".config.json.12.345", ".summary.json.7.1", ".trajectories.jsonl.7.1", ".rescored.building-0a1b"]

    def holds(name: str) -> bool:
        if name == "prune":
            return _prune(folder / name)
        (folder / name).mkdir()
        (folder / name / name).touch()
        evaluate("alfworld@valid_seen", "random", episodes=1, out=folder / name, env_kwargs={"max_steps": 1})
        return (folder / name / "summary.json").exists()

    return tally([*names, "prune"], holds, "the folders are used; no half checkpoint has a name")


def _prune(folder: Path) -> bool:
    for step in (1, 2):
        (folder / f"rl-{step}").mkdir(parents=True)
        for name in ("trainer_state.pt", "config.json"):
            (folder / f"rl-{step}" / name).touch()
        time.sleep(0.01)

    def killed(path: Path, **_: object) -> None:
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    with patch("shutil.rmtree", killed), contextlib.suppress(KeyboardInterrupt):
        prune(folder, 1, set())
    return {path.name for path in folder.glob("[!.]*")} == {"rl-2"}


def pages(folder: Path) -> Outcome:
    """Write reports of runs whose texts try to become a part of the page; none may hold a tag that the page does not have itself."""
    hostile = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<!--<script>",
        "\u2028</script >",
        "<svg/onload=alert(1)>",
        "]]><iframe src=//evil.example>",
        "<a href=javascript:alert(1)>",
        "<meta http-equiv=refresh content=0;url=//evil.example>",
    ]
    out = folder / "run"

    def page(text: str) -> list[str]:
        shutil.rmtree(out, ignore_errors=True)
        evaluate("alfworld@valid_seen", lambda messages: f"<action>{text}</action>", tasks=[0], out=out, env_kwargs={"max_steps": 2})
        path = out / "trajectories.jsonl"
        path.write_text(
            "".join(json.dumps({**json.loads(line), "agent": text, "error": text}) + "\n" for line in path.read_text().splitlines())
        )
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps({**config, "agent": {**config["agent"], "name": text, text: text}}))
        return re.findall(r"(?i)<\s*(?:!--|/?[a-z]+)[^>]{0,20}", write_report(out).read_text())

    own = Counter(page("look"))
    return tally(hostile, lambda text: not Counter(tag for tag in page(text) if any(sign in tag for sign in SIGNS)) - own, "")


SIGNS = ("alert", "evil", "onerror", "onload", "<!--", "script", "iframe", "javascript", "refresh")


def descriptors(folder: Path) -> Outcome:
    """Open and close WebShop's environment without the garbage collector; its files must be closed each time."""
    import gymnasium as gym

    counts = []
    gc.disable()
    try:
        for _ in range(5):
            env = gym.make("EMPG/WebShop-v0", num_products=100)
            env.reset(seed=0)
            env.close()
            counts.append(open_files()[0])
    finally:
        gc.enable()
    return len(counts), sum(count <= counts[0] for count in counts), f"{counts[-1]} open files"


CASES: dict[str, Case] = {
    "forged training run: judge, key names, backends, paths, web, absurd sizes": settings,
    "forged training run: sends a key of the environment to a server": theft,
    "forged training run: a latest checkpoint outside the folder": pointers,
    "forged evaluation: scored again with addresses, paths and modules": rescored,
    "forged evaluation: resumed with edited, doubled, foreign and damaged lines": lines,
    "hostile run: texts that try to become a part of the report": pages,
    "leftovers of killed processes": leftovers,
    "WebShop: files of closed environments, without the garbage collector": descriptors,
}
