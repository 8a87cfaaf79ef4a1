"""What an evaluation takes over from the training run of a checkpoint, and what no longer suits what the user gives."""

from __future__ import annotations

import pytest

from empg_gym.chat_settings import ChatSettings
from empg_gym.evaluation.environments import find_recipe
from empg_gym.trainers.config.sections import EnvConfig

DEEP_SEARCH = {"world_size": 200}


def run_with(env_id, chat, **options):
    """Return the recipe of a training run."""
    return EnvConfig(id=env_id, **chat, **options).recipe()


def played(run, *, kwargs=None, **given):
    """Return the dialogue, the system prompt and the origin of options of an evaluation with what is given."""
    recipe = find_recipe(run.env_id, kwargs=kwargs, chat=ChatSettings(**given)).with_training_defaults(run)
    env = recipe.make()
    try:
        return env.dialogue.name, env.system_prompt, dict(recipe.as_trained)
    finally:
        env.close()


def test_another_dialogue_comes_with_its_own_system_prompt():
    run = run_with("EMPG/ALFWorld-v0", {"dialogue": "plain", "system_prompt": "", "history": 2})
    assert played(run) == ("plain", "", {"dialogue": "plain", "system_prompt": "", "history": 2})
    dialogue, prompt, taken = played(run, dialogue="react")
    assert dialogue == "react" and "Thought:" in prompt and taken == {"history": 2}
    assert played(run, dialogue="react", system_prompt="Play.")[1] == "Play."


@pytest.mark.parametrize("given", ["search-r1", "arpo"])
def test_another_protocol_comes_with_its_own_dialogue_and_prompt(given):
    run = run_with("EMPG/DeepSearch-v0", {"dialogue": "plain", "system_prompt": ""}, options={**DEEP_SEARCH, "protocol": "plain"})
    assert played(run)[:2] == ("plain", "")
    dialogue, prompt, taken = played(run, kwargs={"protocol": given})
    assert dialogue == "native" and prompt and taken == {"env.world_size": 200}


def test_a_protocol_may_be_the_default_or_go_with_the_embedded_world():
    native = run_with("EMPG/DeepSearch-v0", {"system_prompt": ""}, options=DEEP_SEARCH)
    assert played(native, kwargs={"protocol": "search-r1"})[:2] == ("native", ""), "as trained, though spelt out"
    dialogue, prompt, _ = played(native, kwargs={"protocol": "plain"})
    assert dialogue == "think-action" and "<action>" in prompt
    embedded = run_with("EMPG/DeepSearch-v0", {"dialogue": "plain"}, embedded_options={"protocol": "plain"})
    official = find_recipe(embedded.env_id, kwargs={"data": "questions.jsonl"}, chat=ChatSettings())
    assert official.with_training_defaults(embedded).chat.dialogue is None
