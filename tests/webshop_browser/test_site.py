"""The site over HTTP, without a browser: pages, sessions, rejected actions, a person's episode."""

from __future__ import annotations

import threading
from dataclasses import replace
from html.parser import HTMLParser

import gymnasium as gym
import httpx
import pytest

from empg_gym import LLMAgentEnv
from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.html import html
from empg_gym.envs.webshop.site.play import play_in_browser
from empg_gym.envs.webshop.site.server import SiteServer
from empg_gym.errors import ConfigError, EnvironmentFailure


class TextNodes(HTMLParser):
    """Parses the text nodes of a page as upstream does."""

    def __init__(self):
        super().__init__()
        self.nodes, self._hidden = [], 0

    def handle_starttag(self, tag, attributes):
        self._hidden += tag in ("title", "script", "style")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("title", "script", "style")

    def handle_data(self, data):
        if not data.strip(" \n\t\f\r"):
            data = "\n" if "\n" in data else " "
        if data != "\n" and not self._hidden:
            self.nodes.append(data)


def make(**arguments):
    return gym.make("EMPG/WebShop-v0", split="test", num_products=100, **arguments).unwrapped


def test_text_nodes_equal_those_of_the_text_modes_on_every_kind_of_page():
    env = make(show_attrs=True)
    seen = set()
    for seed in range(6):
        env.reset(seed=seed)
        plan = ["click[description]", "click[< prev]", "click[features]", "click[< prev]", "click[reviews]", "click[< prev]"]
        plan += ["click[attributes]", "click[< prev]"]
        while True:
            parser = TextNodes()
            parser.feed(html(env.view.page))
            assert parser.nodes == [node.text for node in text.nodes(env.view.page)]
            seen.add((env.view.page.kind, env.view.page.sub))
            if env.view.page.kind == "done":
                break
            env.step(plan.pop(0) if env.view.page.kind in ("item_page", "item_sub_page") and plan else env.expert())
            env._step, env._truncated = 0, False
    assert len(seen) == 8


def test_a_page_keeps_the_goals_secrets():
    env = make()
    env.reset(seed=0)
    for _ in range(2):
        env.step(env.expert())
        page = env.view.page
        source = html(page)
        assert "<!--" not in source
        assert "product_category" not in source
        others = tuple(replace(product, category="other", query="other", product_category="other") for product in page.products)
        assert html(replace(page, products=others)) == source
    assert page.kind == "item_page"


@pytest.fixture
def game():
    """A person's episode, served in a thread: (environment, address)."""
    env = LLMAgentEnv(gym.make("EMPG/WebShop-v0", split="test", num_products=100), dialogue="plain")
    env.reset(seed=0)
    addresses, told = [], threading.Event()

    def announce(address):
        addresses.append(address)
        told.set()

    thread = threading.Thread(target=play_in_browser, args=(env, announce))
    thread.start()
    assert told.wait(20)
    yield env, addresses[0]
    while env.trajectory.stop_reason is None:
        httpx.get(addresses[0] + "/act", params={"action": "click[nothing]"})
    thread.join(20)
    assert not thread.is_alive()


def test_a_person_buys_with_clicks_and_the_episode_is_recorded(game):
    env, address = game
    with httpx.Client(follow_redirects=True) as browser:
        assert "search_input" in browser.get(address).text
        while (action := env.unwrapped.expert()) is not None:
            data = {"words": action[len("search[") : -1]} if action.startswith("search[") else None
            page = browser.post(f"{address}/act", params={} if data else {"action": action}, data=data)
            assert page.status_code == 200
        assert "Your score" in page.text
    assert env.trajectory.success


def test_reloading_a_page_repeats_no_action(game):
    env, address = game
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.post(f"{address}/act", data={"words": "red"})
        browser.get(str(page.url))
    assert len(env.trajectory.steps) == 1


def test_a_rejected_action_says_so_and_changes_nothing(game):
    env, address = game
    with httpx.Client(follow_redirects=True) as browser:
        before = env.unwrapped.view.state
        page = browser.get(f"{address}/act", params={"action": "click[buy now]"})
        assert "data-notice" in page.text
        assert env.unwrapped.view.state == before


def test_any_text_can_be_a_session_id():
    env = make()
    env.reset(seed=0)

    class Fixed:
        page, step = env.view.page, 0

    name = "a/b ?ä#%2F"
    with SiteServer() as server:
        server.sessions[name] = Fixed()
        assert httpx.get(server.page_address(name)).status_code == 200
        assert httpx.get(server.address + "/nobody").status_code == 404
        assert httpx.get(server.address + "/static/shop.css").status_code == 200
        assert httpx.get(server.address + "/static/../app.py").status_code == 404


def test_a_port_in_use_is_named():
    with SiteServer() as server, pytest.raises(EnvironmentFailure, match="0 for a free one"):
        SiteServer(int(server.address.rpartition(":")[2]))


def test_only_webshop_has_a_site():
    with pytest.raises(ConfigError, match="terminal"):
        play_in_browser(LLMAgentEnv(gym.make("EMPG/ALFWorld-v0")), print)


def test_a_form_that_is_too_large_is_refused_before_it_is_read(game):
    """48 MB of "a=&a=&…" took 1.9 GB; the site's server refuses them by their length."""
    env, address = game
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = httpx.post(f"{address}/act", content=b"a=&" * (1 << 20), headers=form)
    assert page.status_code == 413 and not env.trajectory.steps


def test_a_page_of_another_site_cannot_play(game):
    env, address = game
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert httpx.post(f"{address}/act", data={"words": "red"}, headers=headers).status_code in (403, 421)
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert httpx.get(f"{address}/act", params={"action": "search[red]"}, headers=image).status_code == 403
    assert not env.trajectory.steps


def test_the_session_can_be_neither_guessed_nor_found(game):
    _, address = game
    base, _, session = address.rpartition("/")
    assert len(session) >= 12
    for path in ("/", "/game"):
        assert session not in httpx.get(base + path, follow_redirects=True).text and httpx.get(base + path).status_code == 404
