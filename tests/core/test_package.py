"""The package as a whole: light to import, the same in every process."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import empg_gym
from empg_gym.errors import ConfigError, MissingDependencyError, nearest, require
from empg_gym.registration import ENVIRONMENTS, make
from tests.toy import TOY_ID

ROOT = Path(__file__).parents[2]
_BUILD = "import sys, setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"


def test_importing_loads_no_torch():
    heavy = {"torch", "transformers", "textworld", "selenium"}
    code = f"import sys, empg_gym, empg_gym.cli; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_ids_are_registered_and_work_without_the_import():
    assert set(ENVIRONMENTS) <= set(gym.registry)
    code = "import gymnasium as gym; env = gym.make('empg_gym:EMPG/ALFWorld-v0'); env.reset(seed=0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    for name in ("LLMAgentEnv", "Trajectory", "Step", "StopReason", "Completion", "evaluate"):
        assert hasattr(empg_gym, name)


def test_the_version_is_the_same_everywhere():
    command = [sys.executable, "-c", "from empg_gym.cli import main; main()", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version("empg-gym") == empg_gym.__version__ == str(cited["version"])
    assert shown == f"empg-gym {empg_gym.__version__}\n"


def test_hosted_ci_calls_the_commands_of_the_makefile():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {words[1] for words in map(str.split, commands) if words[0] == "make"}
    assert {"lint", "test"} <= called <= targets
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    for template in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        fields = yaml.safe_load(template.read_text())
        assert template.name == "config.yml" or {"name", "description", "body"} <= fields.keys()


def _build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist with the project's backend and return the archive."""
    out.mkdir()
    subprocess.run([sys.executable, "-c", _BUILD, f"build_{kind}", str(out)], cwd=source, capture_output=True, check=True)
    (built,) = out.iterdir()
    return built


def test_wheel_and_sdist_hold_the_linked_packages(tmp_path):
    """`empg_gym/envs`, `trainers` and `configs` are symbolic links; archives hold their files, and the sdist builds the same wheel."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("empg_gym", "envs", "trainers", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    wheel = _build("wheel", source, tmp_path / "wheel")
    with tarfile.open(_build("sdist", source, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = _build("wheel", unpacked, tmp_path / "again")
    assert wheel.name == again.name == f"empg_gym-{empg_gym.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names == set(zipfile.ZipFile(again).namelist())
    kept = {".py", ".md", ".html", ".css", ".js", ".json", ".jinja", ".txt", ".pddl", ".twl2", ".toml"}
    expected = {
        f"empg_gym/{path.relative_to(source if folder != 'empg_gym' else source / folder)}"
        for folder in ("empg_gym", "envs", "trainers", "configs")
        for path in (source / folder).rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix in kept and path != source / "configs" / "README.md"
    }
    assert expected <= names, sorted(expected - names)[:10]


def test_a_checkout_without_symbolic_links_is_not_built(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "empg_gym", source / "empg_gym", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    (source / "empg_gym" / "envs").unlink()
    (source / "empg_gym" / "envs").write_text("../envs")
    with pytest.raises(subprocess.CalledProcessError) as error:
        _build("wheel", source, tmp_path / "wheel")
    assert b"empg_gym/envs must be a symbolic link to ../envs" in error.value.stderr


def test_windows_is_refused_in_one_sentence():
    code = "import sys; sys.platform = 'win32'; import empg_gym"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "on Windows install it inside WSL" in done.stderr.splitlines()[-1]


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install 'empg-gym\[browser\]'"):
        require("no_such_package_here", "browser", "the shop")


def test_nearest():
    assert nearest("tain", ["train", "test"]) == "did you mean 'train'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize(
    ("env_id", "arguments", "says"),
    [
        (
            "CartPole-v1",
            {"split": "train"},
            "CartPole-v1 has Box observations and Discrete actions; expected texts (gymnasium.spaces.Text) to talk to a language model",
        ),
        (TOY_ID, {"splitt": "train"}, f"{TOY_ID} takes no argument 'splitt'; did you mean 'split'?"),
        ("Test/Picky-v0", {"split": 3}, "Test/Picky-v0 can't be made with these arguments: object of type 'int' has no len()"),
    ],
)
def test_a_refused_argument_is_one_sentence(env_id, arguments, says, monkeypatch):
    monkeypatch.setitem(gym.registry, "Test/Picky-v0", gym.envs.registration.EnvSpec("Test/Picky-v0", lambda split: len(split)))
    with pytest.raises(ConfigError) as error:
        make(env_id, **arguments)
    assert str(error.value) == says
