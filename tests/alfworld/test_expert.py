"""The experts win, from the start and from random states."""

import random
import re

import pytest

from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.expert import STRATEGIES
from empg_gym.envs.alfworld.goals import SENTENCES
from empg_gym.errors import ConfigError

SPLITS = ("train", "valid_seen", "valid_unseen")


def finish(env):
    """Run the expert to the end and return whether it won; every proposed action must be admissible."""
    while (action := env.expert()) is not None:
        _, _, terminated, truncated, info = env.step(action)
        assert info["valid_action"], action
        if terminated or truncated:
            return info["success"]
    return False


@pytest.mark.parametrize("wording", ["new", "old"])
@pytest.mark.parametrize("size", ["full", "small"])
@pytest.mark.parametrize("split", SPLITS)
def test_direct_wins_within_the_limit(split, size, wording):
    env = ALFWorldEnv(split, size=size, wording=wording)
    for index in range(60):
        env.reset(options={"task": index})
        assert finish(env), env.task
        assert env.expert() is None


@pytest.mark.parametrize("expert", STRATEGIES)
def test_recovers_from_random_play(expert):
    env = ALFWorldEnv("valid_seen", size="small", expert=expert, max_steps=200)
    rng = random.Random(0)
    for index in range(90):
        _, info = env.reset(options={"task": index})
        for _ in range(rng.randrange(30)):
            *_, over, _, info = env.step(rng.choice(info["admissible_actions"]))
            if over:
                break
        assert info["success"] or finish(env), env.task


@pytest.mark.parametrize("expert", ["search", "systematic"])
@pytest.mark.parametrize("split", SPLITS)
def test_search_wins_in_small_households(split, expert):
    env = ALFWorldEnv(split, size="small", expert=expert, max_steps=20)
    for index in range(120):
        env.reset(options={"task": index})
        assert finish(env), env.task


@pytest.mark.parametrize("expert", ["search", "systematic"])
def test_search_uses_only_what_has_been_shown(expert):
    """The contents of receptacles that have not been shown must not affect the search."""
    env = ALFWorldEnv("train", size="small", expert=expert)
    for index in range(60):
        env.reset(options={"task": index})
        engine = env._engine
        while (action := env.expert()) is not None:
            state = engine.state
            hidden = [r for r in range(len(state.contents)) if r not in engine.seen]
            if hidden and state.held < 0:
                emptied = tuple(() if r in hidden else row for r, row in enumerate(state.contents))
                thought = env.expert_thought()
                engine.state = state._replace(contents=emptied)
                assert (env.expert(), env.expert_thought()) == (action, thought)
                engine.state = state
            env.step(action)


def test_every_task_type_is_among_the_first_six():
    env = ALFWorldEnv("valid_unseen")
    assert [env.reset(options={"task": i})[1]["task_type"] for i in range(6)] == list(SENTENCES)


def thoughts_of(env: ALFWorldEnv, task: int) -> list[str]:
    """Return the expert's thoughts over an episode, without repetitions."""
    env.reset(seed=0, options={"task": task})
    found: list[str] = []
    while (action := env.expert()) is not None:
        if env.expert_thought() not in found:
            found.append(env.expert_thought())
        env.step(action)
    return found


@pytest.mark.parametrize(
    ("task_type", "pattern"),
    [
        ("pick_and_place_simple", r"Find one (\w+)\.\|Put it in the (\w+)\."),
        ("look_at_obj_in_light", r"Find one (\w+)\.\|Use the (\w+)\."),
        ("pick_heat_then_place_in_recep", r"Find one (\w+)\.\|Heat it with the microwave\.\|Put it in the (\w+)\."),
        ("pick_two_obj_and_place", r"Find one (\w+)\.\|Put it in the (\w+)\.\|Find another \1\."),
    ],
)
def test_the_expert_says_what_it_is_after(task_type, pattern):
    env = ALFWorldEnv("train", size="small", expert="search", task_types=[task_type])
    for task in range(12):
        thoughts = thoughts_of(env, task)
        found = re.fullmatch(pattern, "|".join(thoughts))
        assert found, thoughts
        assert all(word in env.instruction for word in found.groups())


def test_the_systematic_expert_searches_in_the_room_s_order_and_keeps_notes():
    env = ALFWorldEnv("train", size="small", expert="systematic", task_types=["look_at_obj_in_light", "pick_two_obj_and_place"])
    lamps = others = 0
    for task in range(60):
        observation, _ = env.reset(seed=0, options={"task": task})
        listed = re.findall(r"an? (\w+ \d+)", observation.partition("you see")[2].partition(".")[0])
        seen: dict[str, str] = {}
        examined: list[str] = []
        while (action := env.expert()) is not None:
            thought = env.expert_thought()
            bookmark = re.match(r"After (\w+ \d+)", thought)
            assert [bookmark[1] if bookmark else ""] == (examined[-1:] or [""]), (thought, action)
            assert examined == listed[: len(examined)]
            if note := re.search(r", (lamp|another) at (\w+ \d+):", thought):
                assert note[2] in seen and (note[1] == "lamp") == (env.task_type == "look_at_obj_in_light")
                assert re.search(r"lamp \d" if note[1] == "lamp" else rf" {env.instruction.split()[2]} \d", seen[note[2]])
                lamps, others = lamps + (note[1] == "lamp"), others + (note[1] == "another")
            observation, *_ = env.step(action)
            if place := re.search(r"(?:On|In) the (\w+ \d+), you see|The (\w+ \d+) is open\. In it", observation):
                seen[place[1] or place[2]] = observation
            while len(examined) < len(listed) and listed[len(examined)] in seen:
                examined.append(listed[len(examined)])
    assert lamps and others


@pytest.mark.parametrize(
    ("task_type", "forgotten"),
    [
        ("look_at_obj_in_light", {"use"}),
        ("pick_clean_then_place_in_recep", {"clean"}),
        ("pick_cool_then_place_in_recep", {"cool"}),
        ("pick_heat_then_place_in_recep", {"heat"}),
    ],
)
def test_a_forgetful_expert_leaves_out_a_part_of_the_goal_and_thinks_that_it_is_done(task_type, forgotten):
    env = ALFWorldEnv("train", size="small", expert="systematic", expert_forgets=1.0, task_types=[task_type], max_steps=20)
    for task in range(30):
        env.reset(options={"task": task})
        words, over = [], False
        while not over:
            action, thought = env.expert(), env.expert_thought()
            words.append(action.split()[0])
            *_, truncated, info = env.step(action)
            over = truncated
            assert info["valid_action"]
        assert not env.success and forgotten.isdisjoint(words)
        assert action == "look" and thought.endswith(("t is done.", ": it is done."))


@pytest.mark.parametrize("task_type", ["pick_and_place_simple", "pick_two_obj_and_place"])
def test_a_forgetful_expert_still_brings_objects_to_their_place(task_type):
    env = ALFWorldEnv("train", size="small", expert="search", expert_forgets=1.0, max_steps=20, task_types=[task_type])
    for task in range(30):
        env.reset(options={"task": task})
        assert finish(env)


def test_a_share_of_the_tasks_is_forgotten_the_same_ones_in_every_environment():
    def forgotten(share: float) -> set[str]:
        env = ALFWorldEnv("train", size="small", expert="search", expert_forgets=share, task_types=[4])
        found = set()
        for task in range(100):
            env.reset(seed=task, options={"task": task})
            if not finish(env):
                found.add(env.task)
        return found

    few, many = forgotten(0.3), forgotten(0.7)
    assert forgotten(0.0) == set() and few < many == forgotten(0.7)
    assert 15 <= len(few) <= 45 and 55 <= len(many) <= 85


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", True, None])
def test_a_share_that_is_not_one_is_refused(share):
    with pytest.raises(ConfigError, match=r"expert_forgets must be a number from 0 to 1"):
        ALFWorldEnv("train", expert_forgets=share)
