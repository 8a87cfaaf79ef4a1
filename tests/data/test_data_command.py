"""`empg-gym data` as it is typed."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from empg_gym.cli.data import app
from empg_gym.data import data_path, registry
from empg_gym.errors import ConfigError, DataError, TaskError
from tests.data.server import Route, serving
from tests.data.test_store import TEXT, sample


@pytest.fixture
def offered(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        data_set = sample(server)
        monkeypatch.setattr(registry, "official_sets", lambda: {"sample": data_set})
        yield server


def run(*arguments, typed=None):
    return CliRunner().invoke(app, list(arguments), input=typed)


def test_the_licence_comes_before_the_first_byte(offered):
    refused = run("get", "sample")
    assert isinstance(refused.exception, ConfigError) and "add --yes" in str(refused.exception)
    assert "licence: MIT" in refused.output and offered.asked == []


def test_get_verify_path_and_list(offered, tmp_path):
    assert "no" in run("list").output
    got = run("get", "sample", "--yes")
    assert got.exit_code == 0, got.output
    folder = tmp_path / "cache" / "data" / "sample"
    assert "licence: MIT" in got.output and f"3 files in {folder}" in got.output
    assert "no checksum is published for dev.jsonl: trusted on first use" in got.output
    assert run("path", "sample").output.strip() == str(folder) == str(data_path("sample"))
    assert run("get", "sample").output.startswith("sample is here")
    assert run("verify").exit_code == 0 and run("verify", "sample").exit_code == 0
    (folder / "dev.jsonl").write_bytes(TEXT + b"\n")
    damaged = run("verify", "sample")
    assert damaged.exit_code == 1 and "fix: empg-gym data get sample --again" in damaged.output
    assert run("get", "sample", "--again", "--yes").exit_code == 0 and run("verify").exit_code == 0


def test_a_new_edition_is_asked_for_by_name(offered):
    run("get", "sample", "--yes")
    offered.routes["/dev.jsonl"] = Route(TEXT + b"{}\n", etag='"two"')
    assert "get sample --new-edition" in str(run("get", "sample", "--yes", "--again").exception)
    assert run("get", "sample", "--yes", "--new-edition").exit_code == 0
    assert run("verify").exit_code == 0


def test_files_from_a_folder(offered, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "games.zip").write_bytes(offered.routes["/games.zip"].body)
    (given / "dev.jsonl").write_bytes(TEXT)
    assert run("get", "sample", "--yes", "--from", str(given)).exit_code == 0
    assert offered.asked == []


def test_wrong_use_is_told_in_a_sentence(offered):
    assert isinstance(run("path", "sample").exception, DataError)
    assert isinstance(run("get", "nothing", "--yes").exception, TaskError)
    assert isinstance(run("verify", "sample").exception, DataError)
    assert "no set is here" in run("verify").output
