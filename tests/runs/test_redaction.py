"""Secrets in every place where a user may put one, looked for in every file and line that a run writes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.cli.eval import _again
from empg_gym.evaluation import evaluate
from empg_gym.report import write_report
from empg_gym.runs.redaction import MASK, Redactor, is_secret
from empg_gym.runs.terminal import Console, printable
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trajectory import Completion, read_trajectories
from tests.toy import TOY_ID

SECRET = "sEcr3t-Value-0123"
OPTIONS = {
    "an option": {"api_key": SECRET},
    "a nested option": {"extra": {"api_key": SECRET}},
    "a header": {"extra": {"headers": {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET}}},
    "a list": {"servers": [{"url": "http://a.example", "password": SECRET}]},
    "an environment": {"env": {"MY_KEY": SECRET}},
    "user info": {"base_url": f"http://user:{SECRET}@server.example/v1"},
    "a user name alone": {"base_url": f"http://{SECRET}@server.example/v1"},
    "a query": {"base_url": f"http://server.example/v1?x=1&api-key={SECRET}"},
    "a query of another name": {"base_url": f"http://server.example/v1?access_token={SECRET}#x"},
    "a command": {"command": f"agent --api-key {SECRET} --fast"},
    "a command with equals": {"command": f"agent --token={SECRET}"},
    "an assignment": {"command": f"env API_KEY={SECRET} agent"},
    "JSON in a text": {"text": json.dumps({"api_key": SECRET})},
    "a header as text": {"text": f"Authorization: Bearer {SECRET}"},
}


class Leaks:
    """Repeats its secret in everything that an agent can write."""

    def __init__(self, **options):
        self.options = options

    def describe(self):
        return self.options

    name = property(lambda self: f"leaks {self.options}")

    def act(self, messages, *, tools=None):
        if len(messages) > 3:
            raise RuntimeError(f"{self.options} {SECRET}")
        return f"<action>{SECRET}</action>"


@pytest.mark.parametrize("place", OPTIONS)
def test_no_file_of_a_run_holds_a_secret(place, tmp_path, monkeypatch):
    out = tmp_path / "run"
    summary = evaluate(TOY_ID, Leaks(**OPTIONS[place]), tasks=[0], out=out, retries=0, agent_options=OPTIONS[place])
    write_report(out)
    for path in out.iterdir():
        assert SECRET not in path.read_text(), path.name
    assert SECRET not in json.dumps(summary.data)


@pytest.mark.parametrize("place", OPTIONS)
def test_settings_of_any_form_are_redacted(place):
    shown = json.dumps(Redactor(environ={}).tree(OPTIONS[place]))
    shown = shown if place != "an environment" else json.dumps(Redactor(environ={}).tree({"api_key": SECRET}))
    assert SECRET not in shown and MASK in shown


def test_keys_of_the_environment_are_known_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    monkeypatch.setenv("ODD_NAME", SECRET[::-1])
    redactor = Redactor({"judge": {"api_key_env": "ODD_NAME"}})
    assert redactor.line(f'{{"a": "{SECRET} {SECRET[::-1]}"}}') == f'{{"a": "{MASK} {MASK}"}}'
    evaluate(TOY_ID, lambda messages: f"<action>{SECRET}</action>", tasks=[0], out=tmp_path / "run")
    for path in (tmp_path / "run").iterdir():
        assert SECRET not in path.read_text()


def test_a_report_of_an_older_run_holds_no_key(tmp_path, monkeypatch):
    evaluate(TOY_ID, lambda messages: f"<action>{SECRET}</action>", tasks=[0], out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["agent"]["base_url"] = "http://user:hunter2hunter2@server.example"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    text = write_report(tmp_path / "run").read_text()
    assert "hunter2" not in text and SECRET not in text


def test_the_settings_of_a_training_run_stay_as_they_are():
    tree = TrainConfig.model_validate({"model": {"name": "m"}, "env": {"options": {"judge": {"api_key_env": "X"}}}}).model_dump(mode="json")
    assert Redactor(tree, environ={}).tree(tree) == tree


@pytest.mark.parametrize("name", ["api_key_env", "max_tokens", "state_key", "max_response_tokens", "monkeys", "tokenizer", "keyboard"])
def test_other_names_are_no_secrets(name):
    assert Redactor(environ={}).tree({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "text",
    [
        "a basic understanding of shelves",
        "state_key=state",
        "http://a.example/x?page=2",
        "the key to the door",
        "tokens=5",
        "bearer of bad news",
        "a@b.example",
    ],
)
def test_other_texts_stay(text):
    assert Redactor(environ={}).text(text) == text


@pytest.mark.parametrize("value", ["", "x", "EMPTY", "none", "1234567"])
def test_short_values_are_not_replaced_everywhere(value):
    assert Redactor({"api_key": value}, environ={"A_KEY": value}).line("x EMPTY none 1234567") == "x EMPTY none 1234567"
    assert value == "" or Redactor(environ={}).tree({"api_key": value}) == {"api_key": MASK}


@given(st.text(max_size=40), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20))
def test_a_known_secret_is_in_no_line(around, secret):
    assert (
        secret not in Redactor({"api_key": secret}, environ={}).line(around.replace(secret, "") + "{" + secret + "}" + around)
        or secret in MASK
    )


def test_the_command_that_resumes_holds_no_secret(monkeypatch, tmp_path):
    arguments = [
        "eval",
        "alfworld",
        "-a",
        f"exec:prog --api-key {SECRET}",
        "--set",
        f"agent.api_key={SECRET}",
        "--base-url",
        f"http://u:{SECRET}@h/v1",
    ]
    monkeypatch.setattr(sys, "argv", ["empg-gym", *arguments])
    assert SECRET not in _again(tmp_path, None)


def test_options_whose_name_says_so():
    assert all(map(is_secret, ("api_key", "agent.env", "headers", "password"))) and not any(map(is_secret, ("api_key_env", "tokens")))


HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b31mb\u202ec\rd"


def test_a_terminal_shows_control_characters_and_does_not_obey_them(capsys):
    console = Console(force_terminal=True, width=80, highlight=False)
    console.print(HOSTILE, style="bold", markup=False)
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown and "\x1b]0" not in shown and "\x9b" not in shown and "\u202e" not in shown and "\\x1b[2J" in shown
    assert shown.startswith("\x1b[1m"), "rich's own styles remain"
    assert printable("plain é\n\tüber 日本") == "plain é\n\tüber 日本"


def test_a_secret_on_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    Console(width=200).print(f"error: http://user:pass1234@host {SECRET}", markup=False)
    shown = capsys.readouterr().out
    assert SECRET not in shown and "pass1234" not in shown and MASK in shown


def test_the_texts_of_tokens_do_not_spell_a_secret(tmp_path):
    """An agent whose first episode repeats its key, token by token."""
    half = len(SECRET) // 2
    texts = ["the key is ", SECRET[:half], SECRET[half:]]
    plays = iter([texts, ["I ", "look ", "around"]])

    def agent(messages):
        if len(messages) <= 2:
            agent.texts = next(plays)
        return Completion(text="".join(agent.texts), logprobs=np.full(3, -0.5, np.float32), token_texts=tuple(agent.texts))

    options = {"limits": {"max_steps": 2}, "concurrency": 1, "agent_options": {"api_key": SECRET}}
    evaluate(TOY_ID, agent, episodes=2, out=tmp_path, **options)
    leaking, other = sorted(read_trajectories(tmp_path / "trajectories.jsonl"), key=lambda item: "key" not in item.steps[0].response)
    assert MASK in leaking.steps[0].response and [step.token_texts for step in leaking.steps] == [None, None]
    assert other.steps[0].token_texts == ("I ", "look ", "around")
