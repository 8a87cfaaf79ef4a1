"""Changes that the tests make to the commands of the pages, with reasons. Everything else runs exactly as printed.

`{port}` is replaced by a free port and `{venv}` by the virtual environment of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.alfworld.release import make_release
from tests.docs.small_sets import content
from tests.webshop.records import codes, record, write_official


class Change(NamedTuple):
    """A text of a page and its replacement."""

    page: str
    printed: str
    run: str
    because: str


_SHORT = "--set warmstart.steps=2 --set warmstart.episodes=8 --set eval.tasks=1"
_FEW = "--set rl.steps=1 --set rl.tasks_per_step=2 --set rl.repeats=2"
_MADE = "PYTHON=true VENV={venv}"
_PIP = "pip install --no-deps --no-build-isolation --no-compile --target installed"

CHANGES = [
    Change("README", "make demo ", f"make demo {_MADE} ARGS='{_SHORT} {_FEW}' ", "the environment exists; two steps, not an hour"),
    Change("README", "make test ", f"make test {_MADE} WORKERS=0 ARGS=tests/core/test_dialogue.py ", "the environment exists; one file"),
    Change("README", "pip install", _PIP, "no network; the tests' own environment stays as it is"),
    Change("README", "installed '.[train]'", "installed --dry-run '.[train]'", "it would repeat the command before"),
    Change("README", "--out runs/over-grpo", f"--out runs/over-grpo {_SHORT} {_FEW}", "two steps"),
    Change(
        "README",
        "train alfworld empg",
        f"train alfworld empg {_FEW} --set eval.tasks=1 --set env.max_steps=2 --set env.data=games "
        "--set model.name=$(ls -d runs/demo/checkpoints/*/ | tail -n 1) --set rollout.max_row_tokens=4096 "
        "--set rollout.max_response_tokens=4",
        "a local model in place of a download of 3 GB, a few games, one step",
    ),
    Change("own_environment", "--out runs/trained", f"--out runs/trained {_SHORT} {_FEW}", "two steps"),
    Change("own_environment", "--out runs/taught", f"--out runs/taught {_SHORT} {_FEW}", "two steps"),
    Change("index", "pip install", f"{_PIP} --dry-run", "no network; installed for README"),
    Change("data", "get alfworld-2.1.1", "get alfworld-2.1.1 --yes", "nobody is at the terminal to accept the licence"),
    Change("data", "get wiki-18 --from /media/disk/", "get wiki-18 --yes --from disk/", "nobody is at the terminal; no such disk"),
    Change("data", "empg-gym data ", "python -m tests.docs.small_sets data ", "small files from a local server in place of gigabytes"),
    Change(
        "data",
        "--port 8000",
        "--port {port} & server=$!\n"
        "trap 'kill $server; wait $server || true' EXIT\n"
        "timeout 60 bash -c 'until (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done'",
        "the server runs in the background on a free port and is ended at exit",
    ),
    Change("data", "127.0.0.1:8000", "127.0.0.1:{port}", "the free port"),
]


def _readme(folder: Path) -> None:
    for split in ("train", "valid_seen", "valid_unseen"):
        make_release(folder / "games", split=split)


def _data(folder: Path) -> None:
    (folder / "disk").mkdir()
    (folder / "disk" / "wiki18_100w.zip").write_bytes(content("wiki18_100w.zip", "zip"))


def _webshop(folder: Path) -> None:
    asins = codes(40)
    said = {"instruction": "a mug for my desk", "instruction_attributes": ["easy clean"], "instruction_options": [], "attributes": []}
    human = {asin: [{"asin": asin, **said}] for asin in asins}
    write_official(folder / "DIR", [record(asin) for asin in asins], human=human)


def _deepsearch(folder: Path) -> None:
    for name in ("hotpotqa/train.jsonl", "bamboogle/test.jsonl"):
        path = folder / name
        path.parent.mkdir()
        question = {"id": name, "question": f"What is in {name}?", "golden_answers": ["a question"]}
        path.write_text(json.dumps(question) + "\n", encoding="utf-8")


FILES: dict[str, Callable[[Path], None]] = {"README": _readme, "data": _data, "webshop": _webshop, "deepsearch": _deepsearch}
"""Small versions of files that a page assumes to exist: ALFWorld's games, a corpus on a disk, WebShop's files, question sets."""
