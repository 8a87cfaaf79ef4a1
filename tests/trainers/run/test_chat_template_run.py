"""A run with its own chat template: trainer, evaluations, checkpoint agent and dry run use it, and a run reports rows that multiply."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from rich.console import Console

from empg_gym.agents import make_agent
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import EpisodeSpec, Rollout
from empg_gym.trainers.algorithms.ppo_clip import ppo_clip
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend
from empg_gym.trainers.generate.tokenizer import train_tokenizer
from empg_gym.trainers.run.cost import estimate_cost
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import read_trajectories
from tests.trainers.corridor import corridor_config
from tests.trainers.generate import templates
from tests.trainers.run.test_cost import TREE

FORGETS = (
    "{{ greeting }}{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'user' or forgets is not defined %}{{ m.content }}{% endif %}{% if m.role == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Prints `greeting`; with `forgets` it leaves earlier responses out."""


def run(folder, **args):
    shown = io.StringIO()
    config = corridor_config(
        str(folder),
        model={"chat_template": FORGETS, "template_args": {"greeting": "The sign says", **args}},
        warmstart={"steps": 30},
        rl={"steps": 2},
        eval={"every": None},
    )
    summary = Trainer(config, ProgressView(Console(file=shown, width=500))).run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return summary, lines[-2:], shown.getvalue()


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory):
    """A run whose template drops earlier responses."""
    folder = tmp_path_factory.mktemp("forgetful") / "run"
    return folder, *run(folder, forgets=True)


def test_a_run_warns_once_about_a_template_that_multiplies_rows(forgetful, tmp_path):
    _, summary, lines, shown = forgetful
    assert all(line["rollout/rows_per_episode"] == pytest.approx(line["train/steps"]) for line in lines), "each step is a row"
    assert shown.count("rows on average") == 1
    (warning,) = summary["warnings"]
    assert "qwen3-keep-thoughts" in warning and warning in shown
    summary, lines, shown = run(tmp_path / "keeps")
    assert all(line["rollout/rows_per_episode"] == 1 for line in lines)
    assert "warnings" not in summary and "rows on average" not in shown


recorded_weights: list[float] = []


def recorded_loss(tokens):
    recorded_weights.extend(tokens.weights.tolist())
    return ppo_clip(tokens)


def test_row_mean_weighs_trajectories_however_many_rows_they_have(tmp_path):
    config = corridor_config(
        str(tmp_path / "run"),
        model={"chat_template": FORGETS, "template_args": {"greeting": "", "forgets": True}},
        warmstart={"steps": 30},
        rl={"steps": 1, "minibatches": 1, "aggregation": "row-mean"},
        algorithm={"policy_loss": f"{__name__}:recorded_loss"},
        eval={"splits": []},
    )
    recorded_weights.clear()
    Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["rollout/rows_per_episode"] > 1.2
    counts = Counter(round(weight, 9) for weight in recorded_weights[-int(lines[-1]["rollout/generated_tokens"]) :])
    for weight, tokens in counts.items():
        trajectories = tokens * weight * 16
        assert trajectories == pytest.approx(round(trajectories), abs=1e-4) and trajectories > 0.5, "the tokens of each add up to 1 / 16"


def first_prompts(trajectories, tokenizer):
    return {tokenizer.decode(item.steps[0].prompt_token_ids.tolist())[:13] for item in trajectories}


def test_trainer_evaluation_and_checkpoint_agent_render_alike(forgetful):
    folder = forgetful[0]
    tokenizer = TokenizersBackend.from_pretrained(folder / "checkpoints" / "rl-000002")
    recorded = list(read_trajectories(folder / "trajectories.jsonl"))
    assert {item.info["kind"] for item in recorded} == {"training", "evaluation"}
    agent = make_agent(f"checkpoint:{folder}", device="cpu")
    played = Rollout(EnvRecipe("EMPGTest/Corridor-v0", {"split": "test"}), agent).run([EpisodeSpec(seed=seed) for seed in range(4)])
    assert first_prompts([*recorded, *played], tokenizer) == {"The sign says"}
    assert all(len({step.row for step in item.steps}) == len(item.steps) for item in played)


def test_the_agent_replaces_the_arguments_of_a_checkpoint(forgetful):
    folder = forgetful[0] / "checkpoints" / "rl-000002"
    agent = make_agent(f"checkpoint:{folder}", device="cpu", template_args={"greeting": "Hello"})
    played = Rollout(EnvRecipe("EMPGTest/Corridor-v0", {"split": "test"}), agent).run([EpisodeSpec(seed=1)])
    ids = played[0].steps[0].prompt_token_ids
    assert TokenizersBackend.from_pretrained(folder).decode(np.asarray(ids).tolist()).startswith("Hello<|system|>")
    assert agent.info.settings["template_args"] == {"greeting": "Hello"}


def test_a_dry_run_counts_the_rows_of_the_chosen_template(tmp_path):
    words = "go to shelf 1 take mug 1 from shelf 1 You see nothing."
    tokenizer = train_tokenizer([words] * 3, whole=templates.CHATML)
    tokenizer.chat_template = templates.QWEN3
    tokenizer.save_pretrained(tmp_path)

    def estimate(**model):
        return estimate_cost(parse_config({**TREE, "model": {"name": str(tmp_path), **model}}))

    dropped, kept = estimate(), estimate(chat_template="qwen3-keep-thoughts")
    assert [cost.rows for cost in kept.thoughtful] == [1.0, 1.0]
    assert [cost.rows for cost in dropped.thoughtful] == [cost.steps for cost in dropped.thoughtful]
    assert dropped.thoughtful[1].tokens > 2 * kept.thoughtful[1].tokens
    line = next(line for line in dropped.lines() if line.startswith("An episode with 40 words of thought"))
    assert "8.0 steps, 8.0 rows" in line
