"""The doctor finds what is broken, names the fix, and fails only for what everything needs."""

from __future__ import annotations

import json
import socket
import stat
import subprocess

import pytest
import typer
from typer.testing import CliRunner

from empg_gym.cli.doctor import doctor
from empg_gym.doctor import Finding, data, machine, packages

app = typer.Typer()
app.command()(doctor)


def program(folder, name, output="", code=0):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")
    monkeypatch.delenv("SE_CHROMEDRIVER", raising=False)
    (folder / "sh").symlink_to("/bin/sh")
    return folder


def test_the_whole_examination_names_a_fix_for_all_that_is_not_well():
    result = CliRunner().invoke(app, ["--json"])
    told = json.loads(result.output)
    groups = {finding["group"] for finding in told["findings"]}
    assert {"python", "packages", "torch", "build", "browser", "ports", "disk", "data"} <= groups
    assert all(finding["fix"] for finding in told["findings"] if finding["status"] != "ok")
    assert result.exit_code == (0 if told["ok"] else 1)
    worlds = [finding for finding in told["findings"] if finding["name"] in ("ALFWorld", "WebShop", "DeepSearch")]
    assert len(worlds) == 3 and all("fingerprint" in finding["detail"] for finding in worlds if finding["status"] == "ok")


def test_only_what_everything_needs_fails_the_command(monkeypatch):
    optional = [
        Finding("browser", "chromium", "missing", "not found", "apt-get install chromium"),
        Finding("torch", "torch", "broken", "x", "y"),
    ]
    monkeypatch.setattr("empg_gym.doctor.examine", lambda: iter(optional))
    result = CliRunner().invoke(app)
    assert result.exit_code == 0 and "fix: apt-get install chromium" in result.output
    needed = Finding("packages", "core", "broken", "numpy is not installed", "pip install -U empg-gym", required=True)
    monkeypatch.setattr("empg_gym.doctor.examine", lambda: iter([*optional, needed]))
    result = CliRunner().invoke(app)
    assert result.exit_code == 1 and "fix: pip install -U empg-gym" in result.output


def test_a_finding_that_is_not_well_must_name_its_fix():
    with pytest.raises(ValueError, match="has no fix"):
        Finding("a", "b", "missing", "c")


def test_requirements_are_read_as_metadata_writes_them():
    lines = [
        "gymnasium<2,>=1.2",
        "selenium<5,>=4.20; extra == 'browser'",
        'textworld[pddl]>=1.6.2; extra == "textworld"',
        "empg-gym[train]; extra == 'test'",
    ]
    assert packages.requirements(lines) == [
        ("gymnasium", "<2,>=1.2", ""),
        ("selenium", "<5,>=4.20", "browser"),
        ("textworld", ">=1.6.2", "textworld"),
    ]


@pytest.mark.parametrize(
    ("have", "specifier", "fits"),
    [
        ("1.4.0", ">=1.2,<2", True), ("2.0", ">=1.2,<2", False), ("2.13.0+cpu", ">=2.6", True), ("1.10", ">=1.9", True),
        ("1.2", ">=1.2.0", True), ("0.9rc1", ">=1", False), ("3.0", "!=3.0", False), ("3.0", "==3.0.0", True), ("5", "", True),
        ("1.3", ">1.2,<=1.3", True), ("1.2", ">1.2", False),
    ],
)  # fmt: skip
def test_versions(have, specifier, fits):
    assert packages.satisfies(have, specifier) is fits


def test_missing_packages_are_optional_in_extras_and_broken_in_the_core():
    lines = ["no-such-package>=1", "also-none>=2; extra == 'serve'", "numpy>=999; extra == 'search'", "numpy>=1; extra == 'parquet'"]
    core, serve, search, parquet = packages.examine(lines)
    assert (core.status, core.required, core.fix) == ("broken", True, "pip install -U empg-gym")
    assert (serve.status, serve.fix) == ("missing", "pip install -U 'empg-gym[serve]'") and "also-none is not installed" in serve.detail
    assert search.status == "broken" and "but >=999 is needed" in search.detail and not search.required
    assert parquet.status == "ok"


def test_a_machine_without_compiler_and_browser(empty_path, monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    found = machine.compiler()
    assert found.status == "missing" and found.fix == "apt-get install --no-install-recommends g++ cmake make"
    chromium, driver = machine.browser()
    assert chromium.status == driver.status == "missing" and "apt-get install" in driver.fix and "chromium-driver" in driver.fix
    assert machine.torch_and_gpu().fix == "pip install 'empg-gym[train]'"


def test_a_driver_of_another_version_or_one_that_does_not_run(empty_path):
    program(empty_path, "chromium", "Chromium 156.0.1")
    driver = program(empty_path, "chromedriver", "ChromeDriver 156.0.2 (abc)")
    assert [finding.status for finding in machine.browser()] == ["ok", "ok"]
    program(empty_path, "chromedriver", "ChromeDriver 120.0.2 (abc)")
    broken = list(machine.browser())[1]
    assert broken.status == "broken" and "does not match" in broken.detail and broken.fix
    program(empty_path, "chromedriver", code=1)
    broken = list(machine.browser())[1]
    assert broken.status == "broken" and f"{driver} does not run" in broken.detail


def test_a_gpu_that_torch_does_not_see(empty_path, monkeypatch):
    program(empty_path, "nvidia-smi", "GPU 0: NVIDIA")
    monkeypatch.setattr(machine, "find_spec", lambda name: object())
    real = machine._run

    def run(command, seconds):
        if "-c" not in command:
            return real(command, seconds)
        return subprocess.CompletedProcess(command, 0, json.dumps(["2.13.0+cpu", None, [], [], False, False]), "")

    monkeypatch.setattr(machine, "_run", run)
    found = machine.torch_and_gpu()
    assert found.status == "broken" and "was built without CUDA" in found.detail and found.fix.startswith("pip install")
    monkeypatch.setattr(machine, "_run", lambda command, seconds: subprocess.CompletedProcess(command, 1, "", "ImportError: libcudart.so"))
    found = machine.torch_and_gpu()
    assert found.status == "broken" and "libcudart.so" in found.detail


def test_a_port_that_is_in_use(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine, "_PORTS", {port: "something"})
        loopback, used = machine.ports()
    assert loopback.status == "ok" and used.status == "missing" and used.fix == "add --port 0 to the command"


def test_a_cache_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "file" / "cache"))
    found = machine.cache()
    assert found.status == "broken" and found.required and "EMPG_GYM_CACHE" in found.fix
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "cache"))
    assert machine.cache().status == "ok" and list((tmp_path / "cache").iterdir()) == []


def test_data_folders_and_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(data, "ENVIRONMENTS", {})
    absent, variable = data.examine()
    assert absent.status == "missing" and absent.fix == "empg-gym data get alfworld-2.1.1"
    assert variable.status == "broken" and "unset ALFWORLD_DATA" in variable.fix
    root = tmp_path / "data"
    (root / "bamboogle").mkdir(parents=True)
    (root / "bamboogle" / "test.jsonl").write_bytes(b"12345")
    record = {"sha256": "0" * 64, "size": 5, "checked": "first use"}
    (root / "lock.json").write_text(json.dumps({"bamboogle": {"downloads": {"test.jsonl": record}, "files": {"test.jsonl": record}}}))
    here = next(finding for finding in data.examine() if finding.name == "bamboogle")
    assert here.status == "ok" and "fingerprint" in here.detail and str(root / "bamboogle") in here.detail
    (root / "bamboogle" / "test.jsonl").write_bytes(b"1")
    here = next(finding for finding in data.examine() if finding.name == "bamboogle")
    assert here.status == "broken" and here.fix == "empg-gym data get bamboogle --again"


def test_an_environment_that_does_not_start(monkeypatch):
    import gymnasium

    monkeypatch.setattr(gymnasium, "make", lambda *_args, **_kwargs: 1 / 0)
    found = data.world("EMPG/ALFWorld-v0")
    assert found.status == "broken" and found.required and "ZeroDivisionError" in found.detail
