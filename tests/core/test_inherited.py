"""What the files of somebody else's run may decide: an allow-list, tried with every argument of every environment."""

from __future__ import annotations

import gymnasium as gym
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.inherited import LARGEST, REPLAYED, inherit
from empg_gym.registration import creator_parameters, env_creator
from tests.toy import TOY_ID

IDS = ["EMPG/ALFWorld-v0", "EMPG/WebShop-v0", "EMPG/DeepSearch-v0"]
LEADS_OUT = {"judge", "web", "backend", "visit", "corpus", "mix", "engine", "progress", "render_mode", "reward", "invalid_penalty", "split"}
"""Arguments that lead to an address, a key, a file, a program or another score, and those that have no place in a run's environment."""


@pytest.mark.parametrize("env_id", IDS)
def test_every_argument_is_either_harmless_or_ignored(env_id):
    names = set(creator_parameters(env_id)) - {"data"}
    allowed = env_creator(env_id).inheritable
    assert allowed <= names and allowed | (LEADS_OUT & names) == names, "a new argument belongs to one of the two"
    accepted, ignored = inherit(env_id, dict.fromkeys(names, 1))
    assert set(accepted) == allowed and set(ignored) == names - allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("judge", {"base_url": "http://evil.example/v1", "model": "m", "api_key_env": "AWS_SECRET_ACCESS_KEY", "cache": "/home/u/.ssh/x"}),
        ("backend", "http://169.254.169.254/"),
        ("backend", "serper"),
        ("visit", "fetch"),
        ("visit", True),
        ("web", {"cache": "record", "recording": "/etc/cron.d/x"}),
        ("data", "/etc/passwd"),
        ("data", "\\\\evil.example\\share"),
        ("data", ["official"]),
        ("corpus", "/etc"),
        ("mix", "a.jsonl:1"),
        ("reward", "llm_judge"),
        ("world_size", 10**12),
        ("world_size", LARGEST + 1),
        ("top_k", float("nan")),
        ("top_k", float("inf")),
        ("top_k", 10**400),
        ("protocol", {"name": "search-r1"}),
        ("protocol", "x" * 101),
        ("task_types", [["1hop"]]),
        ("task_types", ["1hop"] * 101),
        ("unheard_of", 1),
    ],
)
def test_nothing_else_is_taken(name, value):
    accepted, ignored = inherit("EMPG/DeepSearch-v0", {name: value, "top_k" if name != "top_k" else "max_steps": 2})
    assert name not in accepted and list(ignored) == [name] and len(accepted) == 1


def test_names_and_numbers_of_the_variant_are_taken():
    given = {"protocol": "arpo", "top_k": 5, "passage_chars": None, "task_types": ["1hop"], "world_size": 100_000, "world_seed": 2**40}
    assert inherit("EMPG/DeepSearch-v0", {**given, "data": "official"}) == ({**given, "data": "official"}, {})


def test_a_replay_also_takes_paths_and_scores_but_no_address_or_program():
    given = {"data": "/data/q.jsonl", "reward": "f1", "invalid_penalty": 0.1, "backend": "http://evil.example", "judge": {}}
    accepted, ignored = inherit("EMPG/DeepSearch-v0", given, also=REPLAYED)
    assert set(accepted) == {"data", "reward", "invalid_penalty"} and set(ignored) == {"backend", "judge"}


@pytest.mark.parametrize("env_id", ["antigravity:EMPG/ALFWorld-v0", "no/such-v0", "", "os:system"])
def test_an_unknown_id_takes_nothing_and_imports_nothing(env_id, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name, package=None: pytest.fail(f"imported {name}"))
    assert inherit(env_id, {"max_steps": 3}) == ({}, {"max_steps": 3})


def test_an_environment_of_a_function_takes_the_common_arguments():
    env_id = "Test/FunctionDoors-v0"
    gym.register(env_id, entry_point=lambda **arguments: gym.make(TOY_ID, **arguments))
    try:
        assert inherit(env_id, {"max_steps": 3, "url": "http://evil.example"}) == ({"max_steps": 3}, {"url": "http://evil.example"})
    finally:
        del gym.registry[env_id]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(creator_parameters("EMPG/DeepSearch-v0"))) | st.text(max_size=8), JSON, max_size=6))
def test_any_json_is_divided_without_loss(arguments):
    accepted, ignored = inherit("EMPG/DeepSearch-v0", arguments)
    assert accepted.keys() | ignored.keys() == arguments.keys() and not accepted.keys() & ignored.keys()
    assert accepted.keys() <= env_creator("EMPG/DeepSearch-v0").inheritable | {"data"}
    assert not any(isinstance(value, dict) for value in accepted.values())
