"""Formats that the golden episodes don't cover: odd white space, escapes, the two ways to detect a chosen option."""

import pytest

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.html import html
from tests.webshop.html_text import nodes_of
from tests.webshop.records import codes, record, write_official

ODD = {
    "name": " Odd <b>&amp; Mug</b>\n\ttwo lines ",
    "full_description": "  \n ",
    "small_description": ["", "  ", "\n", " first ", 'größe "quoted" <i>'],
    "customization_options": {"Größe": [{"value": "größe 1"}, {"value": 'a "b"'}, {"value": "plain"}, {"value": ""}], "none": None},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_official(tmp_path_factory.mktemp("data"), [record(code, **ODD) for code in codes(12)])


def pages(env):
    """Visit all kinds of page and yield each."""
    env.reset(options={"task": 0})
    code = codes(1)[0].lower()
    search = "search[odd mug plain]"
    walk = [
        search,
        "click[next >]",
        "click[< prev]",
        f"click[{code}]",
        "click[plain]",
        "click[description]",
        "click[< prev]",
        "click[features]",
    ]
    walk += ["click[< prev]", "click[reviews]", "click[< prev]", "click[attributes]", "click[< prev]", "click[größe 1]", "click[buy now]"]
    yield env.view.page
    for action in walk:
        assert env.step(action)[4]["valid_action"], action
        yield env.view.page


def test_text_is_its_nodes_and_its_html(data):
    env = WebShopEnv("all", data=data, show_attrs=True, max_steps=99)
    for page in pages(env):
        found = text.nodes(page)
        assert text.text(page) == " [SEP] ".join(node.text.strip() for node in found)
        assert nodes_of(html(page)) == [(node.text, node.role.name) for node in found], page.kind


def test_white_space(data):
    env = WebShopEnv("all", data=data, max_steps=99)
    shown = {(page.kind, page.sub): text.text(page) for page in pages_without_attributes(env)}
    instruction = env.instruction
    start = f"Instruction: [SEP] {instruction} [SEP] Back to Search [SEP] < Prev"
    assert shown[("item_sub_page", "Description")] == start, "white space with a line break is dropped"
    assert shown[("item_sub_page", "Features")] == start + ' [SEP]  [SEP]  [SEP] first [SEP] größe "quoted" <i>'
    item = 'größe [SEP] größe 1 [SEP] a "b" [SEP] plain [SEP] Odd <b>&amp; Mug</b>\n\ttwo lines [SEP] Price: $12.99'
    assert f"{start} [SEP] {item}" in shown[("item_page", None)]


def pages_without_attributes(env):
    env.reset(options={"task": 0})
    for action in ("search[odd mug]", f"click[{codes(1)[0].lower()}]", "click[features]", "click[< prev]", "click[description]"):
        env.step(action)
        yield env.view.page


def rich(data, compat, *actions):
    env = WebShopEnv("all", data=data, compat=compat, observation="text_rich", max_steps=99)
    env.reset(options={"task": 0})
    env.step('search[odd "plain" mug]')
    observation = env.step(f"click[{codes(1)[0].lower()}]")[0]
    for action in actions:
        observation = env.step(action)[0]
    return observation


def test_chosen_options(data):
    chosen = ("click[größe 1]", 'click[a "b"]')
    default = rich(data, "default", *chosen)
    assert default.startswith('You have clicked a "b".\nInstruction:\n')
    assert '  [clicked button] a "b" [clicked button_]\n' in default
    assert "  [button] plain [button_]\n" in default
    upstream = rich(data, "upstream", *chosen)
    assert upstream.startswith("You have clicked plain.\nInstruction:\n"), "quoted words of the query match, escaped values don't"
    assert '  [button] a "b" [button_]\n' in upstream


def test_opened_products(data):
    observation = rich(data, "default", "click[< prev]")
    assert f"\n[clicked button] {codes(1)[0]} [clicked button_]\n" in observation
    assert f"\n[button] {codes(2)[1]} [button_]\n" in observation


def test_addresses(data):
    env = WebShopEnv("all", data=data, observation="url", max_steps=99)
    assert env.reset(options={"task": 1})[0] == "http://127.0.0.1:3000/1"
    assert env.step("search[Odd  Mug]")[0] == "http://127.0.0.1:3000/search_results/1/odd++mug/1"
    code = codes(1)[0]
    env.step(f"click[{code}]")
    assert (
        env.step("click[größe 1]")[0]
        == f'http://127.0.0.1:3000/item_page/1/{code}/odd++mug/1/{{"gr\\u00f6\\u00dfe": "gr\\u00f6\\u00dfe 1"}}'
    )
    assert env.step("click[reviews]")[0] == f"http://127.0.0.1:3000/item_sub_page/1/{code}/odd++mug/1/Reviews/{{'größe': 'größe 1'}}"


def test_nothing_hidden_in_html(data):
    env = WebShopEnv("all", data=data, observation="html", max_steps=99)
    env.reset(options={"task": 0})
    for action in ("search[odd mug]", f"click[{codes(3)[2].lower()}]", "click[buy now]"):
        source = env.step(action)[0]
        assert "<!--" not in source
        assert "Home &amp; Kitchen" not in source
        assert "easy clean" not in source.replace(env.instruction, "")
    assert 'id="reward"' in source
