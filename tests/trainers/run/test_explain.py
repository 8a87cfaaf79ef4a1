"""`--explain`: the stages of a configuration in their order, with options and formulas, for presets and for a user's own functions."""

import subprocess
import sys
from pathlib import Path

import pytest

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import ADVANTAGES, POLICY_LOSSES
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.data.rewards import FILTERS, SHAPERS
from empg_gym.trainers.run.explain import explain
from empg_gym.trainers.run.stages import build_stages

ROOT = Path(__file__).parents[3]
BASES = sorted((ROOT / "configs").glob("*.toml"))
PARTS = sorted((ROOT / "configs" / "parts").glob("*.toml"))
PRESETS = [[base] for base in BASES] + [[ROOT / "configs" / "alfworld.toml", part] for part in PARTS]
TINY = ROOT / "configs" / "alfworld-tiny.toml"


@pytest.mark.parametrize("files", PRESETS, ids=lambda files: files[-1].stem)
def test_every_preset_is_explained(files):
    config = load_config(files)
    text = explain(config)
    stages = list(build_stages(config))
    places = [text.index(f"{number:2}  {stage.kind}: {stage.name}\n") for number, stage in enumerate(stages, 1)]
    assert places == sorted(places)
    for stage in stages:
        for name, value in stage.effective_options().items():
            assert f"{name} = {value!r}" in text
    assert "no docstring" not in text and "no indented equation" not in text
    assert f"\nadvantage {config.algorithm.advantage}\n    " in text
    assert f"\npolicy loss {config.algorithm.policy_loss}\n    " in text
    assert ("sum w k3" in text) == (config.rl.kl_coef > 0)
    assert max(map(len, text.splitlines())) <= 200


@pytest.mark.parametrize("name", list(ADVANTAGES))
def test_every_advantage_has_a_formula(name):
    text = explain(load_config(TINY, [f'algorithm.advantage="{name}"', "algorithm.advantage_options={}"]))
    formula = text[text.index(f"\nadvantage {name}\n") :].split("\n\n", 1)[0].splitlines()[2:]
    assert any(" = " in line for line in formula)
    assert not [line for line in formula if line.startswith(("    - ", "    1 "))]


@pytest.mark.parametrize("name", list(POLICY_LOSSES))
def test_every_policy_loss_has_a_formula(name):
    text = explain(load_config(TINY, [f'algorithm.policy_loss="{name}"', "algorithm.policy_loss_options={}"]))
    formula = text[text.index(f"\npolicy loss {name}\n") :].split("\n\n", 1)[0]
    assert " = -min(" in formula


def test_a_modulation_shows_its_base_and_the_composed_loss():
    settings = [
        "algorithm.advantage_options={ zeta = 0.2, base = 'gigpo', base_options = { gamma = 0.9 } }",
        "algorithm.filters=['informative']",
        "algorithm.shapers=[{ name = 'overlong', options = { max_tokens = 9, buffer = 3 } }]",
        "rl.kl_coef=0.25",
        "rl.entropy_coef=0.5",
        "rl.reward_scale=10",
        "rl.invalid_action_penalty=0.1",
        "algorithm.state_key='observation'",
    ]
    text = explain(load_config(TINY, settings))
    for part in (
        "zeta = 0.2", "gamma = 0.9", "A^S_t = (G_t - mean(G))", "filter: informative", "max_tokens = 9, buffer = 3, penalty = 1.0",
        "sum w L + 0.25 sum w k3 - 0.5 sum w H", "R = 10 success + overlong", "p_t = 0.1 where", "equal by the observation text",
    ):  # fmt: skip
        assert part in text
    assert {"informative"} <= set(FILTERS) and {"overlong"} <= set(SHAPERS)


def test_a_correction_of_the_rollout_gap_is_part_of_the_loss():
    text = explain(load_config(TINY, ["rl.old_logprobs=recompute", "rl.rollout_correction=tis", "rl.rollout_correction_cap=3"]))
    assert "    sum w v L\n" in text and "v     min(pi_train / pi_rollout, 3), without gradient" in text


def own(batch, *, power: float = 2.0):
    """Raise GRPO's advantage to a power.

        A_t = sign(A_i) |A_i|^power

    Args:
        batch: the rollout batch.
        power: the exponent.
    """
    from empg_gym.trainers.algorithms.grpo import grpo

    return grpo(batch)


def bare(batch):
    return own(batch)


def factory(parts):
    """Build something of the user's own."""


def test_a_function_of_the_users_own_is_explained():
    settings = [f'algorithm.advantage="{__name__}:own"', "algorithm.advantage_options={ power = 3.0 }", f'rl.updater="{__name__}:factory"']
    text = explain(load_config(TINY, settings))
    assert f"advantage: {__name__}:own\n        Raise GRPO's advantage to a power.\n        power = 3.0\n" in text
    assert f"advantage {__name__}:own\n    A_t = sign(A_i) |A_i|^power\n" in text
    assert f"loss\n    composed by the updater {__name__}:factory\n" in text
    text = explain(load_config(TINY, [f'algorithm.advantage="{__name__}:bare"', "algorithm.advantage_options={}"]))
    assert "(no docstring)" in text and "have no indented equation" in text


def test_mistakes_are_those_of_a_run():
    with pytest.raises(ConfigError, match="unknown advantage 'empgg'"):
        explain(load_config(TINY, ["algorithm.advantage='empgg'"]))


def test_the_command_prints_it_without_an_environment_or_a_model(tmp_path):
    code = (
        "import sys, gymnasium; gymnasium.make = None\n"
        f"sys.argv = ['empg-gym', 'train', {str(TINY)!r}, '--explain', '--out', {str(tmp_path / 'run')!r}]\n"
        "from empg_gym.cli import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == explain(load_config(TINY))
    assert not (tmp_path / "run").exists()
