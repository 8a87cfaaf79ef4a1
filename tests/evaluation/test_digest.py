"""Lines of a resumed run: its own, edited, doubled, foreign, and those of earlier versions."""

from __future__ import annotations

import json

import pytest

from empg_gym.errors import DataError
from empg_gym.evaluation import compare, evaluate
from empg_gym.report import write_report
from empg_gym.runs.line_digest import Origin, origin, signed
from tests.toy import TOY_ID


def run(out, agent="random", **options):
    return evaluate(TOY_ID, agent, tasks=[0, 1, 2, 3], out=out, **options)


@pytest.fixture
def folder(tmp_path):
    run(tmp_path / "run")
    return tmp_path / "run"


def lines_of(folder):
    return (folder / "trajectories.jsonl").read_text().splitlines()


def write(folder, lines):
    (folder / "trajectories.jsonl").write_text("".join(line + "\n" for line in lines))


def test_every_line_has_a_digest_and_stays_as_it_is(folder):
    before = lines_of(folder)
    assert all(len(json.loads(line)["digest"]) == 32 for line in before)
    write(folder, before[:2])
    run(folder)
    assert lines_of(folder)[:2] == before[:2] and len(lines_of(folder)) == 4
    write_report(folder)


def edited(lines):
    record = json.loads(lines[1])
    return [lines[0], json.dumps({**record, "success": not record["success"], "score": 1.0}, separators=(",", ":"))]


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (edited, "line 2 was edited or written by another run"),
        (lambda lines: [lines[0], lines[1].replace('"steps":[', '"steps": [')], "line 2 was edited"),
        (lambda lines: [lines[0], lines[0]], "line 2 holds an episode that this run does not have, or has already"),
        (
            lambda lines: [json.dumps({**json.loads(lines[0]), "task": "elsewhere", "digest": None})],
            "line 1 holds an episode that this run",
        ),
        (lambda lines: [json.dumps({**json.loads(lines[0]), "repeat": 7, "digest": None})], "line 1 holds an episode that this run"),
        (lambda lines: [json.dumps({**json.loads(lines[0]), "split": "train", "digest": None})], "line 1 holds an episode that this run"),
    ],
)
def test_other_lines_are_refused_and_nothing_changes(folder, change, sign):
    write(folder, change(lines_of(folder)))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=sign):
        run(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_lines_of_another_agent_are_foreign(folder, tmp_path):
    run(tmp_path / "other", "expert")
    write(folder, [*lines_of(folder)[:1], *lines_of(tmp_path / "other")[1:2]])
    with pytest.raises(DataError, match="line 2 was edited or written by another run"):
        run(folder)


def test_lines_of_earlier_versions_are_reported(folder, caplog):
    plain = []
    for line in lines_of(folder)[:3]:
        record = json.loads(line)
        del record["digest"]
        plain.append(json.dumps(record, separators=(",", ":")))
    write(folder, plain)
    summary = run(folder)
    assert len(summary.records) == 4 and "3 lines" in caplog.text and "have no digest" in caplog.text
    assert lines_of(folder)[:3] == plain


def test_other_readers_ignore_the_digest(folder, tmp_path):
    run(tmp_path / "other")
    assert compare([folder, tmp_path / "other"]).cells


def test_a_digest_depends_on_the_line_and_on_the_run():
    line = signed('{"a":1}', "run")
    assert json.loads(line)["a"] == 1
    assert [origin(line, "run"), origin(line, "other"), origin(line.replace("1", "2", 1), "run"), origin('{"a":1}', "run")] == [
        Origin.OWN,
        Origin.FOREIGN,
        Origin.FOREIGN,
        Origin.UNVERIFIED,
    ]
