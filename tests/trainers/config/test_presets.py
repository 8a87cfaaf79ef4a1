"""The presets: every command of configs/README.md, with every model and protocol that it names, loads and passes a dry run."""

import itertools
import re
import shlex
import sys
from pathlib import Path

import pytest

from empg_gym.cli import main
from empg_gym.errors import ConfigError
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.config.presets import presets

ROOT = Path(__file__).parents[3]
README = (ROOT / "configs" / "README.md").read_text()
COMMANDS = dict(re.findall(r"^\| ([^|]+) \| `empg-gym train ([^`]+)` \|$", README, re.MULTILINE))
APPENDED = re.findall(r"^\| (.+) \| `(configs/parts/[^`]+)` \|$", README, re.MULTILINE)
EMBEDDED = ["--set", "env.data=none"]
"""The official data may be absent."""


def _combinations():
    """Yield an id and the arguments of each command with each set of files that suits it."""
    for run, command in COMMANDS.items():
        benchmark = run.partition(",")[0]
        model = [path for where, path in APPENDED if "qwen" in path and benchmark in where]
        protocol = [path for where, path in APPENDED if "verl-agent" in path and where.startswith(benchmark)]
        assert len(model) == len(protocol) == 1, run
        for extra in ([], model, protocol, model + protocol):
            words = shlex.split(command)
            cut = words.index("--set") if "--set" in words else len(words)
            suffix = "".join(f" + {Path(path).stem}" for path in extra)
            yield pytest.param([*words[:cut], *extra, *words[cut:]], id=run + suffix)


def _load(arguments):
    files = [ROOT / word for word in arguments if word.endswith(".toml")]
    return load_config(files, [word for before, word in itertools.pairwise(arguments) if before == "--set"])


@pytest.mark.parametrize("arguments", list(_combinations()))
def test_every_combination_passes_a_dry_run(arguments, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["empg-gym", "train", *arguments, *EMBEDDED, "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code in (0, None), shown.err
    assert "Tokens per training step" in shown.out


@pytest.mark.parametrize("run", list(COMMANDS))
def test_the_stages_of_every_method_exist(run):
    from empg_gym.trainers.run.stages import build_stages

    build_stages(_load(shlex.split(COMMANDS[run])))


def test_every_file_is_in_the_readme():
    for path in (ROOT / "configs").rglob("*.toml"):
        assert str(path.relative_to(ROOT)) in README or f"`{path.name}`" in README, path.name


def test_the_preset_for_released_games_takes_their_folder_and_leaves_out_what_it_lacks():
    config = load_config(["alfworld-released"], ["env.data=games"])
    assert config.env.recipe("valid_unseen").kwargs | {"data": "games", "max_steps": 50} == config.env.recipe("valid_unseen").kwargs
    assert config.eval.splits == ("valid_unseen", "valid_seen") and not config.eval.panel
    assert config.env.embedded_options == {}, "the embedded world is full-size by default"


def test_the_papers_methods_are_what_they_say():
    """DAPO as in the papers; EMPG changes the advantage of its base and nothing else; the protocols differ in what they show."""
    alfworld = {name: _load(shlex.split(command)) for name, command in COMMANDS.items() if name.startswith("ALFWorld")}
    grpo, dapo = alfworld["ALFWorld, GRPO"], alfworld["ALFWorld, DAPO"]
    assert (grpo.algorithm.advantage, grpo.algorithm.plan, grpo.algorithm.shapers, grpo.rl.kl_coef) == ("grpo", "groups", (), 0.01)
    assert dapo.algorithm.policy_loss_options == {"clip_low": 0.2, "clip_high": 0.28}
    assert (dapo.algorithm.plan, dapo.algorithm.plan_options, dapo.rl.kl_coef) == ("dynamic", {"max_rounds": 10}, 0.0)
    assert (dapo.rl.aggregation, [shaper.name for shaper in dapo.algorithm.shapers]) == ("token-mean", ["overlong"])
    for base in ("GRPO", "DAPO"):
        with_empg, without = alfworld[f"ALFWorld, {base} + EMPG"], alfworld[f"ALFWorld, {base}"]
        assert with_empg.algorithm.advantage_options == {"k": 1.0, "k_future": 1.0, "zeta": 0.1}
        same = {"advantage": without.algorithm.advantage, "advantage_options": without.algorithm.advantage_options}
        assert with_empg.model_copy(update={"algorithm": with_empg.algorithm.model_copy(update=same)}) == without
    for base, history, row in (("alfworld", 2, 2048 + 512), ("webshop", 2, 4096 + 512)):
        verl = _load([f"configs/{base}.toml", f"configs/parts/verl-agent-{base}.toml"])
        assert (verl.env.history, verl.env.show_admissible, verl.rollout.max_row_tokens) == (history, True, row)


def test_presets_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_config(["alfworld", "dapo", "empg"], ["rl.steps=3"])
    monkeypatch.chdir(ROOT)
    assert by_name == load_config(
        [Path("configs/alfworld.toml"), Path("configs/parts/dapo.toml"), "configs/parts/empg.toml"], ["rl.steps=3"]
    )
    files = {path.stem: path for path in (ROOT / "configs").rglob("*.toml")}
    assert {preset.name: preset.path.resolve() for preset in presets()} == files, "a name is unique"


def test_a_file_of_the_readers_comes_before_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empg").write_text("[rl]\nsteps = 7\n")
    assert load_config(["alfworld", "empg"]).rl.steps == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("alfwrld", "'alfwrld' is neither a file nor a preset; did you mean 'alfworld'?"),
        ("alfwrld.toml", "no configuration file at alfwrld.toml; empg-gym train --list shows the presets, which need no path"),
    ],
)
def test_an_unknown_configuration_is_one_sentence(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        load_config([name])
    assert str(error.value) == says


def test_the_list_shows_each_preset_with_its_summary(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["empg-gym", "train", "--list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    shown = " ".join(capsys.readouterr().out.split())
    for preset in presets():
        assert preset.summary and f"{preset.name} {preset.summary}" in shown
