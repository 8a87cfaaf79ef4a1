"""Upstream's own episodes, goals and sessions, replayed."""

from __future__ import annotations

import json
import re

import gymnasium as gym
import pytest

import empg_gym  # noqa: F401
from empg_gym.envs.webshop import text
from tests.conformance.webshop import golden, reference, webshop_cache  # noqa: F401

pytestmark = pytest.mark.usefixtures("webshop_cache")

KINDS = ("synthetic", "human")


def make(kind: str, compat: str = "upstream", **options) -> gym.Env:
    data = reference() / "small"
    return gym.make("EMPG/WebShop-v0", data=data, goals=kind, compat=compat, price_seed=0, split="all", max_steps=1000, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_goals_and_prices(kind):
    """Every goal, in order, with text, price cap and weight; every price."""
    expected, _ = golden(kind)
    shop = make(kind).unwrapped.shop
    assert {product.asin: shop.price(product.asin) for product in shop.store} == expected["prices"]
    assert len(shop.goals) == len(expected["goals"])
    for index, goal in enumerate(expected["goals"]):
        ours = shop.goals[index]
        options = dict(ours.options) if kind == "synthetic" else list(ours.options)
        assert (ours.asin, ours.category, ours.query, ours.name) == (goal["asin"], goal["category"], goal["query"], goal["name"])
        assert (ours.product_category, ours.instruction) == (goal["product_category"], goal["instruction_text"])
        assert (list(ours.attributes), ours.price_upper, options) == (goal["attributes"], goal["price_upper"], goal["goal_options"])
        assert ours.weight == goal["weight"]


@pytest.mark.parametrize("compat", ["upstream", "default"])
@pytest.mark.parametrize("kind", KINDS)
def test_episodes(kind, compat):
    """Every step of every episode in the three text modes, with clickables, session and reward.

    By default `text_rich` marks chosen values that contain quotes, which upstream misses; the rest is the same.
    """
    _, episodes = golden(kind)
    assert len(episodes) == {"synthetic": 80, "human": 13}[kind]
    modes = {mode: make(kind, compat, observation=mode) for mode in ("text", "url", *(["text_rich"] if compat == "upstream" else []))}
    for episode in episodes:
        for mode, env in modes.items():
            assert_replays(env, mode, episode)


def assert_replays(env: gym.Env, mode: str, episode: dict) -> None:
    world = env.unwrapped
    observation, info = env.reset(options={"task": episode["goal_index"]})
    assert world.instruction == episode["goal"]["instruction_text"]
    assert mode != "text" or observation == episode["reset_obs"]
    ended = False
    for number, step in enumerate(episode["steps"]):
        reward, terminated = 0.0, False
        if step["action"] is not None:
            observation, reward, terminated, _, info = env.step(step["action"])
        expected = step[mode]
        if info["page"] == "done" and not episode["tagger_independent_reward"]:
            # The score in it was computed with a stubbed tagger; everything else must be equal.
            assert without(world.score, observation) == without(episode["session"]["reward"], expected)
        else:
            assert observation == expected, (episode["goal_index"], number, step["action"])
        assert world.view.clickables() == step["available"]["clickables"]
        assert info["has_search_bar"] == step["available"]["has_search_bar"]
        clicks = [f"click[{thing}]" for thing in step["available"]["clickables"] if thing != "search"]
        assert info["admissible_actions"] == (["search[<query>]"] if info["has_search_bar"] else []) + clicks
        if "done" in step:
            ended = ended or step["done"]
            assert terminated == ended
            if not step["done"]:
                assert reward == step["reward"]
            elif episode["tagger_independent_reward"]:
                assert reward == pytest.approx(step["reward"], abs=1e-12)
    assert_ends_alike(world, info, episode)


def without(score: float, observation: str) -> str:
    """Return the done page without its score."""
    for before, after in ((" [SEP] ", " [SEP] "), ("\n", "\n")):
        observation = observation.replace(f"{before}{score}{after}", f"{before}SCORE{after}")
    return observation


def assert_ends_alike(world, info: dict, episode: dict) -> None:
    session = dict(episode["session"])
    reward, done = session.pop("reward", None), session.pop("done")
    session["asins"] = sorted(session["asins"])
    assert world.view.state.summary() == session
    assert (world.view.state.outcome is not None) == done
    if not done:
        return
    details = info["reward_details"]
    factor = details.pop("r_type")
    expected = dict(episode["reward_info"])
    expected.pop("r_type", None)
    details.pop("title_score")
    expected.pop("title_score", None)
    assert details == pytest.approx(expected)
    assert world.score == pytest.approx(episode["reward_without_type"] * factor, abs=1e-12)
    if episode["tagger_independent_reward"]:
        assert world.score == pytest.approx(reward, abs=1e-12)


def test_sampling_of_an_unseeded_process():
    """The sessions and goals that upstream draws when no task is given, including its off-by-one error."""
    expected = json.loads((reference() / "golden_upstream" / "unseeded_first_resets_synthetic_1k.json").read_text())
    env = make("synthetic")
    for session, observation in expected["resets"]:
        shown, _ = env.reset()
        assert text.url(env.unwrapped.view.page) == f"{text.BASE}/{session}"
        # Upstream's price caps were drawn unseeded, so only the text before them is the same.
        assert shown.split(", and price lower")[0] == observation.split(", and price lower")[0]


def test_a_published_transcript():
    """The log of a random policy in an unseeded process with real spaCy: observations, clickables and rewards."""
    log = (reference() / "transcripts" / "llmagent_random_policy_1k_log.txt").read_text(encoding="utf-8")
    blocks = re.split(r'Taking action "(.*)" -> Reward = (.*)\n', log)
    env = make("synthetic")
    shown, info = env.reset()
    played = 0
    for observed, action, reward in zip(blocks[0:-1:3], blocks[1::3], blocks[2::3], strict=True):
        texts = [squeeze(part) for part in re.split(r"=====+[A-Za-z ]+=====+", observed)[1:]]
        assert squeeze(without_cap(shown)) == without_cap(texts[0])
        clickables = [squeeze(thing) for thing in env.unwrapped.view.clickables()]
        assert all(thing in texts[1] for thing in clickables)
        shown, earned, _, _, info = env.step(action)
        assert earned == pytest.approx(float(reward))
        played += 1
    assert played == 10
    assert info["score"] == pytest.approx(1 / 9)


def squeeze(shown: str) -> str:
    """Return a text without white space, because the log wraps its lines."""
    return "".join(shown.split())


def without_cap(shown: str) -> str:
    """Return a text without the price cap, which the unseeded process drew from an unknown seed."""
    return re.sub(r",\s*and\s*price\s*lower\s*than\s*[\d.]+\s*dollars", "", shown)
