"""The gold answer's log-probability before each step: equal to a naive forward pass, on the tokens of the answer alone."""

import dataclasses
import io
import json

import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe
from empg_gym.trainers.algorithms import advantage_needs, register_advantage
from empg_gym.trainers.collect.demonstrations import demonstrate
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.data.batch import make_batch
from empg_gym.trainers.generate.chat import ChatCodec
from empg_gym.trainers.policy.gold import GoldAnswers, GoldScorer
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.replay import replay
from empg_gym.trainers.run.trainer import Trainer
from tests.deepsearch.helpers import CORPUS, QUESTIONS, toy_files, write_lines

SMALL = {"world_size": 240, "max_steps": 3, "top_k": 1, "observation_tokens": 40}


def search(**arguments):
    chat = EnvRecipe("EMPG/DeepSearch-v0").chat
    dialogue = arguments.pop("dialogue", None)
    return EnvRecipe("EMPG/DeepSearch-v0", {**SMALL, **arguments}, chat=dataclasses.replace(chat, dialogue=dialogue, system_prompt=""))


@pytest.fixture(scope="module")
def model():
    texts = ["search[who founded it] answer[nobody] <answer> <think> I know enough to answer."] * 3
    return load_model(from_scratch=FromScratch(layers=2, width=32, heads=2, init_std=0.4), tokenizer_texts=texts, seed=3)


def episodes(recipe, tokenizer, count=3):
    """Expert episodes in groups of two."""
    env = recipe.make()
    codec = ChatCodec(tokenizer)
    found = [demonstrate(env, index // 2, seed=1, detours=0.0, tokenizer=codec) for index in range(2 * count)]
    return [dataclasses.replace(item, group=index // 2, repeat=index % 2) for index, item in enumerate(found)]


def naive(model, tokenizer, trajectory, before, gold, temperature):
    """One forward pass per step, over ids that are put together here from the recorded steps."""
    codec, values = ChatCodec(tokenizer), []
    for index, step in enumerate(trajectory.steps):
        context = [
            *(
                token
                for earlier in trajectory.steps[:index]
                if earlier.row == step.row
                for token in earlier.prompt_token_ids.tolist() + earlier.response_token_ids.tolist()
            ),
            *step.prompt_token_ids.tolist(),
        ]
        answer = codec.encode(gold)
        ids = torch.tensor([*context, *codec.encode(before), *answer])
        with torch.no_grad():
            every = torch.log_softmax(model(input_ids=ids[None]).logits[0].double() / temperature, dim=-1)
        places = torch.arange(len(ids) - len(answer), len(ids))
        values.append(every[places - 1, ids[places]].mean())
    return torch.stack(values)


FORMS = [
    ({"protocol": "plain", "dialogue": "plain"}, "answer["),
    ({"protocol": "plain", "dialogue": "think-action"}, "<think></think><action>answer["),
    ({"protocol": "plain", "dialogue": "react"}, "Thought: \nAction: answer["),
    ({"protocol": "search-r1"}, "<think>I know enough to answer.</think>\n<answer>"),
    ({"protocol": "hermes"}, "<think>I know enough to answer.</think>\n<answer>"),
    ({"protocol": "arpo"}, "<think>I know enough to answer.</think>\n<answer>The final answer is \\[ \\boxed{"),
]


@pytest.mark.parametrize(("arguments", "before"), FORMS)
@pytest.mark.parametrize(("budget", "temperature"), [(1, 1.0), (100_000, 0.7)])
def test_scores_equal_a_forward_pass_per_step(model, arguments, before, budget, temperature):
    model, tokenizer = model
    recipe = search(**arguments)
    played = episodes(recipe, tokenizer)
    env = recipe.make()
    batch = make_batch(played)
    scores = GoldScorer(Policy(model, temperature=temperature, token_budget=budget), GoldAnswers(env, tokenizer))(batch)
    expected = []
    for trajectory in played:
        env.reset(options={"task": trajectory.task})
        gold = env.text_env._question.golden_answers[0]
        expected.append(naive(model, tokenizer, trajectory, before, gold, temperature))
    torch.testing.assert_close(scores, torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert scores.dtype == torch.float64
    assert len(scores) == len(batch.step) > len(played)


def test_a_window_of_history_makes_a_row_per_step(model):
    """Rows of single steps, and a branch whose first steps are its parent's."""
    model, tokenizer = model
    recipe = search(protocol="plain", dialogue="plain")
    played = episodes(recipe, tokenizer, count=1)
    policy, answers = Policy(model), GoldAnswers(recipe.make(), tokenizer)
    whole = GoldScorer(policy, answers)(make_batch(played))
    parent, other = played
    branch = dataclasses.replace(other, steps=other.steps[1:], parent=0, branch_step=1)
    own = GoldScorer(policy, answers)(make_batch([parent, branch]))
    torch.testing.assert_close(own, torch.cat([whole[: len(parent.steps)], whole[len(parent.steps) + 1 :]]), atol=1e-6, rtol=1e-6)

    windowed = dataclasses.replace(recipe, chat=dataclasses.replace(recipe.chat, history=0))
    (first, _) = episodes(windowed, tokenizer, count=1)
    assert [step.row for step in first.steps] == list(range(len(first.steps)))
    scores = GoldScorer(policy, answers)(make_batch([first]))
    env = windowed.make()
    env.reset(options={"task": first.task})
    expected = naive(model, tokenizer, first, "answer[", env.text_env._question.golden_answers[0], 1.0)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_equal_contexts_are_scored_once(model):
    model, tokenizer = model
    recipe = search(protocol="plain", dialogue="plain")
    scored = []

    class Counting(Policy):
        def score_rows(self, rows):
            scored.append(len(rows))
            return super().score_rows(rows)

    batch = make_batch(episodes(recipe, tokenizer, count=1))
    GoldScorer(Counting(model), GoldAnswers(recipe.make(), tokenizer))(batch)
    assert scored == [len(batch.step) / 2], "two equal episodes"


def test_what_is_unknown_is_nan(model, tmp_path):
    model, tokenizer = model
    recipe = search(**toy_files(tmp_path), protocol="plain", dialogue="plain", split="all")
    batch = make_batch(episodes(recipe, tokenizer, count=6))
    env = recipe.make()
    unpublished = [dataclasses.replace(item, golden_answers=()) if item.id == "q1" else item for item in env.text_env._tasks.questions]
    env.text_env._tasks = dataclasses.replace(env.text_env._tasks, questions=unpublished)
    unknown = GoldScorer(Policy(model), GoldAnswers(env, tokenizer))(batch).isnan()
    assert unknown.tolist() == [batch.trajectories[index].task == "q1" for index in batch.trajectory_of_step.tolist()]
    assert 0 < int(unknown.sum()) < len(unknown)
    short = GoldScorer(Policy(model), GoldAnswers(recipe.make(), tokenizer))
    assert not bool(short(batch).isnan().any())
    short._positions = len(batch.rows[0].ids) // 2
    assert bool(short(batch).isnan().any())


def test_a_method_over_igpo_needs_what_igpo_needs():
    assert advantage_needs("igpo") == {"gold_logprobs"}
    assert advantage_needs("empg", {"base": "igpo", "base_options": {"gamma": 0.9}}) == {"gold_logprobs"}
    assert advantage_needs("empg", {"base": "aepo", "base_options": {"base": "igpo"}}) == {"gold_logprobs"}
    assert advantage_needs("empg") == advantage_needs("grpo") == frozenset()

    def mine(batch):
        raise NotImplementedError

    register_advantage("needs_gold_in_this_test", needs=["gold_logprobs"])(mine)
    assert advantage_needs("needs_gold_in_this_test") == {"gold_logprobs"}


def training(folder, env=None, **algorithm):
    options = {"protocol": "plain", "top_k": 1, "observation_tokens": 100, "world_size": 240, "task_types": ["1hop"]}
    return parse_config(
        {
            "run": {"out": str(folder), "threads": 1, "device": "cpu", "sample_every": 1, "samples": 100, "keep_rollouts": True},
            "env": env
            or {"id": "EMPG/DeepSearch-v0", "max_steps": 3, "dialogue": "plain", "system_prompt": "", "embedded_options": options},
            "model": {"from_scratch": {"layers": 1, "width": 32, "heads": 2, "init_std": 0.2, "max_words": 300}},
            "rollout": {"max_response_tokens": 12, "max_row_tokens": 2048},
            "warmstart": {"steps": 8, "episodes": 64, "episodes_per_step": 16, "optimizer": {"lr": 1e-2}},
            "rl": {"steps": 2, "tasks_per_step": 3, "repeats": 4, "optimizer": {"lr": 1e-3}},
            "algorithm": {"advantage": "igpo", **algorithm},
        }
    )


def train(config):
    return Trainer(config, ProgressView(Console(file=io.StringIO()))).run()


@pytest.mark.parametrize(
    "algorithm",
    [{}, {"advantage": "empg", "advantage_options": {"base": "igpo"}}],
    ids=["igpo", "empg over igpo"],
)
def test_two_updates_on_deep_search(tmp_path, algorithm):
    train(training(tmp_path / "run", **algorithm))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "rl" and line["step"]]
    assert [line["step"] for line in steps] == [1, 2]
    for line in steps:
        assert line["igpo/known_gains"] == 1.0
        assert line["igpo/gain_mean"] != 0.0
        assert line["loss/grad_norm"] > 0.0, "all groups fail, yet there is a signal"


def test_the_answer_is_in_no_file_of_a_run(tmp_path):
    """Two questions that teach to answer, and many whose answer no passage holds: it can be written nowhere unless the stage leaks it."""
    folder, gold = tmp_path / "run", "Zanzigold"
    open_questions = [
        {"id": f"z{index}", "question": f"Where is town number {index}?", "golden_answers": [gold], "metadata": {"split": "train"}}
        for index in range(10)
    ]
    data = write_lines(tmp_path / "questions.jsonl", [*QUESTIONS, *open_questions])
    corpus = write_lines(tmp_path / "corpus.jsonl", CORPUS)
    options = {"protocol": "plain", "corpus": str(corpus), "top_k": 1}
    env = {"id": "EMPG/DeepSearch-v0", "split": "all", "max_steps": 3, "dialogue": "plain", "system_prompt": "", "data": str(data)}
    train(training(folder, {**env, "options": options}))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["igpo/known_gains"] == 1.0, "the stage ran"
    written = {path for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".jsonl") and "tokenizer" not in path.name}
    assert {"trajectories.jsonl", "metrics.jsonl", "summary.json"} <= {path.name for path in written}
    episodes = [json.loads(line) for path in written if "rollouts" in path.parts for line in path.read_text().splitlines()]
    assert any("town number" in json.dumps(item) for item in episodes), "questions of which nothing is known were asked"
    assert not [path for path in written if gold.lower() in path.read_text().lower()]


@pytest.mark.parametrize(
    "algorithm", [{"advantage": "igpo"}, {"advantage": "empg", "advantage_options": {"base": "igpo"}}], ids=["igpo", "empg over igpo"]
)
def test_an_environment_without_gold_answers_is_refused(tmp_path, algorithm):
    env = {"id": "EMPG/ALFWorld-v0", "max_steps": 3, "dialogue": "plain", "system_prompt": ""}
    with pytest.raises(ConfigError, match=r"needs the gold answer of each task, which EMPG/ALFWorld-v0 lacks; choose another") as raised:
        train(training(tmp_path / "run", env, **algorithm))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_replay_scores_the_gold_answers_again(tmp_path):
    config = training(tmp_path / "run")
    config = config.model_copy(update={"run": config.run.model_copy(update={"checkpoint_every": 1})})
    train(config)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    again = replay(config, tmp_path / "run" / "rollouts" / "step-000002.jsonl")
    assert again.is_before
    assert again.metrics["igpo/gain_mean"] == pytest.approx(last["igpo/gain_mean"], rel=1e-5)
    assert again.metrics["loss/grad_norm"] == pytest.approx(last["loss/grad_norm"], rel=1e-4)
