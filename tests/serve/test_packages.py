"""A missing package, or one in another version, is one sentence that names the extra."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError

import pytest

import empg_gym
from empg_gym.errors import MissingDependencyError
from empg_gym.serve.packages import PACKAGES
from tests.docs.pages import ROOT


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "needs the package '{name}', which is not installed; run: pip install 'empg-gym[{extra}]'"),
        ({"mcp": "1.30.0", "openenv": "0.9.1", "websockets": "13.1"}, "was tested with {name}>="),
        ({"mcp": "3.0", "openenv": "0.11.0rc1", "websockets": "100.0"}, "is installed; run: pip install 'empg-gym[{extra}]'"),
    ],
)
@pytest.mark.parametrize(("extra", "name"), [("mcp", "mcp"), ("openenv", "openenv"), ("connect", "websockets")])
def test_the_sentence(extra, name, found, said, monkeypatch, capsys):
    def version(package):
        if package not in found:
            raise PackageNotFoundError(package)
        return found[package]

    monkeypatch.setattr("empg_gym.packages.version", version)
    expected = said.format(name=name, extra=extra)
    if extra == "connect":
        with pytest.raises(MissingDependencyError) as missing:
            empg_gym.connect("http://127.0.0.1:1")
        assert expected in str(missing.value)
        return
    from empg_gym.cli import main

    monkeypatch.setattr(sys, "argv", ["empg-gym", "serve", {"mcp": "mcp", "openenv": "env"}[extra], "alfworld"])
    with pytest.raises(SystemExit) as left:
        main()
    error = capsys.readouterr().err
    assert left.value.code == 2 and expected in error and error.count("\n") == 1, error


def test_the_extras_install_what_is_accepted():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, (packages, _) in PACKAGES.items():
        for package in packages:
            named = {f"{package.package}>={package.least}", package.requirement}
            assert named & set(extras[extra]), (extra, package)
