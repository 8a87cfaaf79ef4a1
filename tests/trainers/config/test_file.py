"""Configurations: presets, overrides, and one clear sentence for every mistake."""

import math
from pathlib import Path

import pytest

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.file import load_config, parse_config

PRESETS = sorted((Path(__file__).parents[3] / "configs").glob("*-tiny.toml"))
SMALL = {"model": {"name": "x"}}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_name_known_algorithms(path):
    from empg_gym.trainers.algorithms import get_advantage, get_policy_loss

    algorithm = load_config(path).algorithm
    get_advantage(algorithm.advantage, algorithm.advantage_options)
    get_policy_loss(algorithm.policy_loss, algorithm.policy_loss_options)


def test_overrides_are_applied_before_validation(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[model]\nname = "x"\n[rl]\nsteps = 3\n[env]\ndata = "somewhere"\n')
    config = load_config(
        path,
        [
            "rl.steps=7",
            "env.options.size=full",
            "rl.optimizer.lr=1e-4",
            "env.data=none",
            'eval.splits=["a","b"]',
            "env.show_admissible=true",
        ],
    )
    assert (config.rl.steps, config.env.options, config.rl.optimizer.lr) == (7, {"size": "full"}, 1e-4)
    assert (config.env.data, config.eval.splits, config.env.show_admissible) == (None, ("a", "b"), True)


def _write(folder, **files):
    """Write TOML files and return their paths in order."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return [folder / f"{name}.toml" for name in files]


def test_later_files_override_earlier_ones_key_by_key(tmp_path):
    files = _write(
        tmp_path,
        base='[model]\nname = "x"\n[rl]\nsteps = 3\nrepeats = 4\n[rl.optimizer]\nlr = 1e-3\nbeta2 = 0.9\n[eval]\nsplits = ["a", "b"]\n',
        part='[rl]\nsteps = 5\noptimizer = { lr = 1e-4 }\n[eval]\nsplits = ["c"]\n',
    )
    config = load_config(files, ["rl.repeats=6"])
    assert (config.rl.steps, config.rl.repeats, config.eval.splits) == (5, 6, ("c",))
    assert (config.rl.optimizer.lr, config.rl.optimizer.beta2) == (1e-4, 0.9)
    assert load_config(files[::-1]).rl.steps == 3


def test_a_file_that_names_a_stage_replaces_its_options(tmp_path):
    files = _write(
        tmp_path,
        base='[model]\nname = "x"\n[algorithm]\nadvantage = "gigpo"\nadvantage_options = { gamma = 0.5 }\nplan_options = { a = 1 }\n',
        named='[algorithm]\nadvantage = "empg"\nadvantage_options = { k = 2.0 }\n',
        options="[algorithm]\nadvantage_options = { zeta = 0.0 }\n",
        bare='[algorithm]\nadvantage = "rloo"\n',
    )
    assert load_config(files[:2]).algorithm.advantage_options == {"k": 2.0}
    assert load_config(files[:3]).algorithm.advantage_options == {"k": 2.0, "zeta": 0.0}
    assert load_config(files).algorithm.advantage_options == {}
    assert load_config(files).algorithm.plan_options == {"a": 1}


@pytest.mark.parametrize(
    ("part", "overrides", "sentence"),
    [
        ("[rl]\nstesp = 3\n", [], "part.toml: unknown key 'rl.stesp'"),
        ('[rl.optimizer]\nlr = "fast"\n', [], "part.toml: rl.optimizer.lr: input should be a valid number"),
        ("rl = 3\n", [], "part.toml: rl: "),
        ("", ["rl.steps=-1"], "--set rl.steps=-1: rl.steps: input should be greater"),
        ("[model.from_scratch]\nlayers = 1\n", [], "part.toml: model: give exactly one of"),
        ("[rl]\nsteps = 1\n", ["rl.repeats=0"], "--set rl.repeats=0: rl.repeats"),
        ("[algorithm]\nshapers = [{ name = 1 }]\n", [], "part.toml: algorithm.shapers.0.name: input should be a valid string"),
    ],
)
def test_errors_name_the_file_or_the_override(tmp_path, part, overrides, sentence):
    files = _write(tmp_path, base='[model]\nname = "x"\n', part=part)
    with pytest.raises(ConfigError) as caught:
        load_config(files, overrides)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({**SMALL, "rl": {"stesp": 3}}, "unknown key 'rl.stesp' in the configuration; did you mean 'steps'"),
        ({**SMALL, "rll": {}}, "unknown key 'rll' in the configuration; did you mean 'rl'"),
        ({"model": {"from_scratch": {"layer": 1}}}, "unknown key 'model.from_scratch.layer' in the configuration; did you mean 'layers'"),
        ({**SMALL, "rl": {"optimizer": {"learning": 1}}}, "unknown key 'rl.optimizer.learning'"),
        (
            {**SMALL, "algorithm": {"shapers": [{"nam": "overlong"}]}},
            "unknown key 'algorithm.shapers.0.nam' in the configuration; did you mean",
        ),
        ({}, "the configuration lacks 'model'"),
        ({"model": {}}, "give exactly one of model.name and model.from_scratch"),
        ({**SMALL, "rl": {"steps": -1}}, "rl.steps: input should be greater than or equal to 0, not -1"),
        ({**SMALL, "rl": {"optimizer": {"lr": "fast"}}}, "rl.optimizer.lr: input should be a valid number"),
        ({**SMALL, "rl": {"optimizer": {"lr": math.inf}}}, "rl.optimizer.lr: input should be a finite number, not inf"),
        ({**SMALL, "eval": {"temperature": math.nan}}, "eval.temperature: input should be "),
        ({"model": {"from_scratch": {"init_std": math.nan}}}, "model.from_scratch.init_std: input should be a finite number"),
        ({**SMALL, "algorithm": {"advantage_options": {"base_options": {"epsilon": math.nan}}}}, "every number must be finite, not nan"),
        ({**SMALL, "run": {"out": ""}}, "run.out: expected the path of a folder, not ''"),
        ({**SMALL, "run": {"out": "a\0b"}}, "run.out: expected the path of a folder, not 'a\\x00b'"),
    ],
)
def test_mistakes_are_named(tree, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="no configuration file at"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("[rl\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(broken)


@pytest.mark.parametrize("override", ["rl.steps", "=3", "rl..steps=3", "rl.steps.=3"])
def test_malformed_overrides(tmp_path, override):
    path = tmp_path / "c.toml"
    path.write_text('[model]\nname = "x"\n')
    with pytest.raises(ConfigError, match="--set expects SECTION"):
        load_config(path, [override])
