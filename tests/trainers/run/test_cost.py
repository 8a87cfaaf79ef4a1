"""The estimate of a dry run: rows as in training, both flavours, no torch, and nothing played that calls a network."""

import subprocess
import sys

import pytest

from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.run.cost import CHARACTERS_PER_TOKEN, EPISODES, estimate_cost

TREE = {
    "model": {"from_scratch": {}},
    "env": {"id": "EMPG/ALFWorld-v0", "max_steps": 8, "dialogue": "plain", "system_prompt": "", "options": {"size": "small"}},
    "rl": {"steps": 1, "tasks_per_step": 3, "repeats": 5},
}


def _estimate(**env):
    return estimate_cost(parse_config({**TREE, "env": {**TREE["env"], **env}}))


def test_both_flavours_of_both_agents():
    found = _estimate()
    assert [(cost.agent, cost.history) for cost in found.costs] == [("expert", None), ("expert", 2), ("random", None), ("random", 2)]
    whole, window = found.costs[2:]
    assert (whole.rows, whole.steps, window.steps) == (1.0, 8.0, 8.0)
    assert window.rows == 6.0, "the first three steps share a row; from the fourth on the window moves"
    assert whole.generated_tokens == window.generated_tokens
    assert whole.prompt_tokens < window.prompt_tokens
    assert whole.longest_row >= whole.tokens
    assert whole.longest_row > window.longest_row
    assert found.episodes == 15


def test_the_configured_history_is_compared_and_marked():
    found = _estimate(history=1)
    assert {cost.history for cost in found.costs} == {None, 1}
    lines = found.lines()
    assert [line.split()[1] for line in lines if line.startswith(("expert", "random"))] == ["all", "1*", "all", "1*"]
    assert "is trained when the run starts" in lines[0]


def test_tokens_of_the_whole_conversation_are_counted_once():
    """The rows of one-row episodes hold each character of the conversation once."""
    from empg_gym.agents.scripted import ExpertAgent
    from empg_gym.trainers.generate.tokenizer import END

    env = parse_config(TREE).env.recipe().make()
    characters = 0
    for seed in range(EPISODES):
        env.reset(seed=seed)
        session = ExpertAgent().session(env, seed)
        over = False
        while not over:
            reply = session.act(env.messages)
            if reply.stop:
                break
            _, _, terminated, truncated, _ = env.step(reply)
            over = terminated or truncated
        for step in env.trajectory.steps:
            characters += len("<|user|>" + step.observation + "<|assistant|>" + step.response + END)
        characters -= len(END) - 1  # a model's end of turn is one token, and no prompt repeats the last one
    env.close()
    assert _estimate().costs[0].tokens == pytest.approx(characters / CHARACTERS_PER_TOKEN / EPISODES)


def test_a_local_tokenizer_counts(tmp_path):
    from empg_gym.trainers.generate.tokenizer import train_tokenizer

    train_tokenizer(["go to shelf 1 take mug 1 from shelf 1 You see nothing."] * 3).save_pretrained(tmp_path / "model")
    found = estimate_cost(parse_config({**TREE, "model": {"name": str(tmp_path / "model")}}))
    assert found.lines()[0].endswith("counted by the model's tokenizer.")
    assert found.costs[0].generated_tokens == int(found.costs[0].generated_tokens * EPISODES) / EPISODES


def test_an_agent_that_cannot_play_is_left_out(monkeypatch):
    from empg_gym.envs.alfworld.env import ALFWorldEnv

    monkeypatch.setattr(ALFWorldEnv, "expert", lambda self: None)
    found = _estimate()
    assert [cost.agent for cost in found.costs] == ["random", "random"]
    assert not any(line.startswith("expert") for line in found.lines())


def test_an_environment_that_does_io_is_not_played(monkeypatch):
    from empg_gym.envs.alfworld.env import ALFWorldEnv

    monkeypatch.setattr(ALFWorldEnv, "does_io", True)
    assert _estimate() is None


def test_it_needs_no_torch():
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "from empg_gym.trainers.config.file import parse_config\n"
        "from empg_gym.trainers.run.cost import estimate_cost\n"
        f"print(estimate_cost(parse_config({TREE!r})).lines()[0])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "15 episodes" in result.stdout
