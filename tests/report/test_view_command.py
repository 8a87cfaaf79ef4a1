"""The command `empg-gym view`."""

from __future__ import annotations

import webbrowser

import pytest
import typer
from typer.testing import CliRunner

from empg_gym.cli.view import view
from empg_gym.errors import ConfigError, DataError
from tests.report.samples import evaluation_run

app = typer.Typer()
app.command()(view)


def test_a_page_is_written_and_opened(tmp_path, monkeypatch):
    run = evaluation_run(tmp_path / "run", 3)
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or False)
    result = CliRunner().invoke(app, [str(run), "--out", str(tmp_path / "deep" / "page.html"), "--open"])
    assert result.exit_code == 0 and (tmp_path / "deep" / "page.html").is_file() and not (run / "report.html").exists()
    assert opened == [(tmp_path / "deep" / "page.html").as_uri()] and "open it yourself" in result.output.replace(opened[0], "it")


@pytest.mark.parametrize("place", ["file/page.html", "folder"])
def test_a_page_that_cannot_be_written_is_a_one_sentence_error(tmp_path, place):
    run = evaluation_run(tmp_path / "run", 1)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(app, [str(run), "--out", str(tmp_path / place)])
    assert isinstance(result.exception, DataError) and "can't be written" in str(result.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "file", "folder"}


@pytest.mark.parametrize(
    ("options", "error", "part"), [(["--follow", "--out", "x"], ConfigError, "writes no file"), ([], DataError, "no run")]
)
def test_wrong_use_is_a_one_sentence_error(tmp_path, options, error, part):
    result = CliRunner().invoke(app, [str(tmp_path / "none"), *options])
    assert isinstance(result.exception, error) and part in str(result.exception)
