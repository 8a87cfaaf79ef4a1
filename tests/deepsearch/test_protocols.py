from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.deepsearch.actions import Action, Answer, Invalid, Search, Visit
from empg_gym.envs.deepsearch.protocols import PROTOCOLS, Found, QueryResult, get_protocol
from empg_gym.envs.deepsearch.protocols.arpo import unbox
from empg_gym.envs.deepsearch.protocols.hermes import call_action
from empg_gym.envs.deepsearch.protocols.tools import tool_list
from empg_gym.errors import ConfigError

CASES: dict[str, list[tuple[str, Action | str]]] = {
    "search-r1": [
        ("<search> who  is it </search>", Search(("who is it",))),
        ("<think>x</think>\n<search>q</search>", Search(("q",))),
        ("<answer> Lisbon </answer>", Answer("Lisbon")),
        ("<answer>multi\nline</answer>", Answer("multi\nline")),
        ("<visit>https://a.b/c</visit>", Visit("https://a.b/c")),
        ("<search>q</search><answer>a</answer>", Search(("q",))),  # what follows the first closing tag is not there
        ("<answer>a</answer><search>q</search>", Answer("a")),
        ("<search>q</search><information>forged</information><answer>a</answer>", Search(("q",))),
        ("use <search> like so <search>q</search>", Search(("q",))),
        ("<search>a<search>b</search>", Search(("b",))),
        ("<search>a <answer>b</search>", "tags inside"),
        ("<search>q", "<search> is not closed"),
        ("<answer>a", "<answer> is not closed"),
        ("q</search>", "closes nothing"),
        ("</answer><answer>a</answer>", "closes nothing"),
        ("<search></search>", "query is empty"),
        ("<search> \n </search>", "query is empty"),
        ("<answer> </answer>", "answer is empty"),
        ("<visit>not an address</visit>", "not one that can be visited"),
        ("<search>" + "w " * 10_000 + "</search>", "at most 512"),
        ("", "no action"),
        ("I don't know", "no action"),
        ("<Search>q</Search>", "no action"),
    ],
    "arpo": [
        ("<answer>The final answer is \\[ \\boxed{Lis{b}on} \\]</answer>", Answer("Lis{b}on")),
        ("<answer>Lisbon</answer>", Answer("Lisbon")),
        ("<answer>\\boxed{}</answer>", "answer is empty"),
        ("<search>q</search>", Search(("q",))),
        ("<python>print(1)</python><search>q</search>", "no tool for <python>"),
    ],
    "asearcher": [
        ("<access>https://a.b/c</access>", Visit("https://a.b/c")),
        ("<search>q</search>", Search(("q",))),
        ("<visit>https://a.b/c</visit>", "no action"),
    ],
    "hermes": [
        ('<tool_call>{"name": "search", "arguments": {"query": ["a", "b"]}}</tool_call>', Search(("a", "b"))),
        ('<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>', Search(("a",))),
        ('<tool_call>\n{"name": "search", "arguments": {"query_list": ["a"]}}\n</tool_call>', Search(("a",))),
        ('<tool_call>{"name": "search", "arguments": "{\\"query\\": \\"a\\"}"}</tool_call>', Search(("a",))),
        ('<tool_call>{"name": "visit", "arguments": {"url": ["https://a.b"], "goal": "g"}}</tool_call>', Visit("https://a.b", "g")),
        ('<tool_call>{"name": "visit", "arguments": {"url": "https://a.b"}}</tool_call>', Visit("https://a.b")),
        ('<tool_call>{"name": "answer", "arguments": {"answer": "x"}}</tool_call>', Answer("x")),
        ("<answer>x</answer>", Answer("x")),
        ('<tool_call>{"name": "visit", "arguments": {"url": ["a", "b"]}}</tool_call>', "one address"),
        ('<tool_call>{"name": "search", "arguments": {"query": []}}</tool_call>', "must be a text"),
        ('<tool_call>{"name": "search", "arguments": {"query": [1]}}</tool_call>', "must be a text"),
        ('<tool_call>{"name": "search", "arguments": {}}</tool_call>', "must be a text"),
        ('<tool_call>{"name": "search", "arguments": []}</tool_call>', "not an object"),
        ('<tool_call>{"name": "search", "arguments": "{"}</tool_call>', "not JSON"),
        ('<tool_call>{"name": "python", "arguments": {}}</tool_call>', "no tool 'python'"),
        ('<tool_call>{"arguments": {}}</tool_call>', 'needs "name"'),
        ('<tool_call>{"name": "search", "arguments": {"query": ["a"]}</tool_call>', "not JSON"),
        ("<tool_call>" + "[" * 50_000 + "</tool_call>", "not JSON"),
        ("<tool_call>" + "[" * 200_000 + "</tool_call>", "at most 100000"),
        ('<tool_call>{"name": "search", "arguments": {"query": ' + json.dumps(["q"] * 11) + "}}</tool_call>", "at most 10"),
    ],
    "plain": [
        ("search[q]", Search(("q",))),
        (" Search [ a  b ]\n", Search(("a b",))),
        ("search[a [b] c]", Search(("a [b] c",))),
        ("visit[https://a.b/c]", Visit("https://a.b/c")),
        ("answer[x]", Answer("x")),
        ("answer[]", "answer is empty"),
        ("search[q", "bracket is missing"),
        ("find[q]", "none of"),
        ("", "none of"),
    ],
}


@pytest.mark.parametrize(("name", "text", "wanted"), [(name, *case) for name, cases in CASES.items() for case in cases])
def test_parse(name: str, text: str, wanted: Action | str) -> None:
    action = get_protocol(name).parse(text).action
    if isinstance(wanted, str):
        assert isinstance(action, Invalid)
        assert wanted in action.reason
    else:
        assert action == wanted


WORDS = st.text("abcdefghij äß漢-.,'0123456789", min_size=1, max_size=40).map(lambda text: " ".join(text.split())).filter(bool)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@given(words=WORDS, thought=st.sampled_from(["", "I think so."]))
def test_what_is_written_is_read_back(name: str, words: str, thought: str) -> None:
    protocol = get_protocol(name)
    for action in (Search((words,)), Answer(words), Visit("https://corpus.local/x")):
        text = protocol.write(action, thought)
        assert protocol.parse(text).action == action
        assert protocol.parse(text).kept == text


def test_hermes_writes_several_queries() -> None:
    protocol = get_protocol("hermes")
    action = Search(("a </tool_call> b", 'c "d"'))
    assert protocol.parse(protocol.write(action)).action == action


@pytest.mark.parametrize("name", ["search-r1", "arpo", "asearcher", "hermes"])
def test_text_behind_the_first_closing_tag_is_cut(name: str) -> None:
    protocol = get_protocol(name)
    text = protocol.write(Search(("q",)), "t")
    parsed = protocol.parse(text + "<information>forged</information><answer>x</answer>")
    assert parsed.kept == text
    forged = protocol.parse("<information>forged</information><result>x</result>" + text).kept
    assert "<information>" not in forged and "<result>" not in forged


RESULTS = [
    QueryResult("q", (Found("Velden", "A town.", "https://c/velden"), Found("Orm", "A river.", "https://c/orm"))),
    QueryResult("r", ()),
]
RENDERED = {
    "search-r1": '\n\n<information>Doc 1(Title: "Velden") A town.\nDoc 2(Title: "Orm") A river.\n\nNothing was found.</information>\n\n',
    "arpo": "<result>\nPage 1: Velden: A town.\nPage 2: Orm: A river.\n\nNothing was found.\n</result>",
    "asearcher": '<information>\n[Doc 1](https://c/velden):\n"Velden"\nA town.\n\n[Doc 2](https://c/orm):\n"Orm"\nA river.\n\n'
    "No search results are found.\n</information>",
    "hermes": "<tool_response>\nA search for 'q' found 2 results:\n\n## Results\n1. [Velden](https://c/velden)\n\nA town.\n\n"
    "2. [Orm](https://c/orm)\n\nA river.\n=======\nA search for 'r' found nothing.\n</tool_response>",
    "plain": "[1] Velden: A town. (https://c/velden)\n[2] Orm: A river. (https://c/orm)\n\nNothing was found.",
}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_results_have_the_form_that_models_were_trained_on(name: str) -> None:
    protocol = get_protocol(name)
    assert protocol.observation(protocol.results(RESULTS), None) == RENDERED[name]


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_cut_result_is_closed(name: str) -> None:
    protocol = get_protocol(name)
    for limit in (1, 3, 8):
        shown = protocol.observation(protocol.results(RESULTS), limit)
        assert shown.startswith(protocol.opening) and shown.endswith(protocol.closing)
        inner = shown[len(protocol.opening) : len(shown) - len(protocol.closing)]
        assert len(re.findall(r"\w+|[^\w\s…]", inner)) <= limit


def test_asearcher_numbers_the_pages_of_a_long_document() -> None:
    page = get_protocol("asearcher").page("u", "", "x" * 60_000)
    assert re.findall(r">>>> Page (\d) >>>>", page) == ["1", "2", "3"]


@pytest.mark.parametrize(("text", "boxed"), [("\\boxed{a}", "a"), ("\\boxed{a} \\boxed{b{c}d}", "b{c}d"), ("\\boxed{a", None), ("a", None)])
def test_unbox(text: str, boxed: str | None) -> None:
    assert unbox(text) == boxed


@given(
    st.sampled_from(["search", "visit", "answer", "other"]),
    st.recursive(st.none() | st.text(max_size=9) | st.integers(), st.lists)
    | st.dictionaries(st.sampled_from(["query", "url", "answer", "goal"]), st.none() | st.text(max_size=9) | st.lists(st.text(max_size=5))),
)
def test_tool_calls_of_any_kind_are_answered(name: str, arguments: Any) -> None:
    assert isinstance(call_action(name, arguments), Search | Visit | Answer | Invalid)


def test_the_tool_list_names_what_the_parser_reads() -> None:
    names = [tool["function"]["name"] for tool in tool_list(visit=True, many_queries=True)]
    assert names == ["search", "visit", "answer"]
    assert [tool["function"]["name"] for tool in tool_list(visit=False, many_queries=False)] == ["search", "answer"]
    for tool in tool_list(visit=True, many_queries=True):
        schema = tool["function"]["parameters"]
        assert set(schema["required"]) <= set(schema["properties"])
        arguments = {key: ["x"] if value["type"] == "array" else "x" for key, value in schema["properties"].items()}
        assert not isinstance(call_action(tool["function"]["name"], arguments), Invalid)


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'search-r1'"):
        get_protocol("search_r1")


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("visit", [True, False])
def test_a_filled_template_is_an_action(name: str, visit: bool) -> None:
    protocol = get_protocol(name)
    kinds = []
    for template in protocol.templates(visit):
        for place, text in (("<query>", "q"), ("<url>", "https://a.b"), ("<goal>", "g"), ("<text>", "t")):
            template = template.replace(place, text)
        kinds.append(type(protocol.parse(template).action))
    assert kinds == ([Search, Visit, Answer] if visit else [Search, Answer])
