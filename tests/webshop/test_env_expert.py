"""The expert that searches as an agent would."""

from __future__ import annotations

import gymnasium as gym
import pytest

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.envs.webshop.page import PageKind
from empg_gym.errors import ConfigError, TaskError


def test_the_searching_expert_uses_only_the_instruction_and_still_buys():
    env = gym.make("EMPG/WebShop-v0", num_products=200, expert="search").unwrapped
    solved = 0
    for seed in range(40):
        _, info = env.reset(seed=seed)
        first = env.expert()
        while (action := env.expert()) is not None and env.step(action)[2:4] == (False, False):
            pass
        if first is not None:
            query = first.removeprefix("search[").removesuffix("]")
            assert info["instruction"].startswith(query)
            solved += env.success
    assert solved >= 20


def test_an_unknown_kind_of_expert_is_named():
    with pytest.raises(ConfigError, match="search"):
        gym.make("EMPG/WebShop-v0", expert="serch")


def test_thoughts_quote_the_instruction_up_to_what_the_action_is_about():
    env = gym.make("EMPG/WebShop-v0", num_products=200, expert="search").unwrapped
    bought = 0
    for seed in range(20):
        _, info = env.reset(seed=seed)
        asked = info["instruction"]
        assert env.expert_thought() == "", "the query is the instruction"
        quoted, over = 0, False
        while not over and (action := env.expert()) is not None:
            page, thought = env.view.page.kind, env.expert_thought()
            if page is not PageKind.INDEX and action != "click[next >]":
                assert thought in asked
            if page is PageKind.ITEM:
                assert asked.index(thought) >= quoted, "in the order of the instruction"
                quoted = asked.index(thought)
                if action == "click[buy now]":
                    assert asked.endswith(thought) and "price lower than" in thought
                    bought += 1
                else:
                    assert action == f"click[{thought.rpartition(': ')[2]}]"
            over = env.step(action)[2]
    assert bought >= 10


def test_the_thoughts_about_one_goal():
    env = gym.make("EMPG/WebShop-v0", num_products=400, expert="search", split="all").unwrapped
    wanted = "socks for daily wear with color: brown, and size: pack of 3, and price lower than 30.00 dollars"
    number = next(number for number in env.goals if env.shop.goals[number].instruction == f"Find me {wanted}")
    env.reset(options={"task": number})
    thoughts, over = [], False
    while not over:
        thoughts.append(env.expert_thought())
        over = env.step(env.expert())[2]
    assert thoughts == [
        "",
        "Find me socks for daily wear",
        "with color: brown",
        "brown, and size: pack of 3",
        "pack of 3, and price lower than 30.00 dollars",
    ]
    assert env.success


def test_thoughts_about_the_goals_of_persons_name_the_values():
    env = gym.make("EMPG/WebShop-v0", num_products=200, expert="search", goals="human").unwrapped
    chosen = 0
    for seed in range(20):
        env.reset(seed=seed)
        over = False
        while not over and (action := env.expert()) is not None:
            if env.view.page.kind is PageKind.ITEM and action != "click[buy now]":
                assert env.expert_thought().endswith(action.removeprefix("click[").removesuffix("]"))
                chosen += 1
            over = env.step(action)[2]
    assert chosen >= 5


def test_the_expert_returns_from_another_product_to_the_results():
    env = gym.make("EMPG/WebShop-v0", num_products=200, expert="search").unwrapped
    for seed in range(20):
        env.reset(seed=seed)
        action = env.expert()
        if action is None:
            continue
        env.step(action)
        wanted = env.expert()
        others = [click for click in env.step("")[4]["admissible_actions"] if click.startswith("click[b0") and click != wanted.lower()]
        if wanted == "click[next >]" or not others:
            continue
        env.step(others[0])
        assert (env.expert(), env.expert_thought()) == ("click[< prev]", "This is another product.")
        env.step("click[< prev]")
        assert env.expert() == wanted
        env.step("search[something else]")
        assert env.expert() in ("click[back to search]", wanted)
        return
    pytest.fail("no task had another product on the page")


def test_a_thought_before_the_first_reset_is_refused():
    with pytest.raises(TaskError, match="reset"):
        gym.make("EMPG/WebShop-v0", num_products=200).unwrapped.expert_thought()


def test_a_forgetful_expert_buys_without_the_last_option():
    env = gym.make("EMPG/WebShop-v0", num_products=400, expert="search", expert_forgets=1.0).unwrapped
    forgotten = 0
    for task in range(40):
        env.reset(options={"task": task})
        actions = []
        while (action := env.expert()) is not None:
            actions.append(action)
            env.step(action)
        if not actions:
            continue
        assert actions[-1] == "click[buy now]"
        options = [pair for pair in env.shop.goals[env.goals[task]].options if not isinstance(pair, str)]
        assert env.success == (not options)
        if options:
            forgotten += 1
            assert 0 < env.score < 1 and f"click[{options[-1][1]}]" not in actions
    assert forgotten >= 20


def test_a_share_of_forgotten_tasks_that_is_not_one_is_refused():
    with pytest.raises(ConfigError, match="expert_forgets must be a number from 0 to 1, not 2"):
        gym.make("EMPG/WebShop-v0", num_products=200, expert_forgets=2)
