"""Lets a person play an episode on the site: every click is a step of the environment, so its limits and records apply."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.page import Page
from empg_gym.envs.webshop.site.server import SiteServer
from empg_gym.errors import ConfigError

LAST_PAGE_SECONDS = 1.0
"""Time that the site keeps running after the end of the episode, in seconds, so that the last page loads."""


class Player:
    """One episode as a `Visitor` of the site. Requests come from several threads and are serialized by a lock."""

    def __init__(self, env: LLMAgentEnv) -> None:
        if not isinstance(env.unwrapped, WebShopEnv):
            raise ConfigError(f"only WebShop has a site, not {type(env.unwrapped).__name__}; play in the terminal instead")
        self._env = env
        self._shop: WebShopEnv = env.unwrapped
        self._lock = threading.Lock()
        self.step = 0
        self.over = threading.Event()

    @property
    def page(self) -> Page:
        """The open page."""
        return self._shop.view.page

    def search(self, words: str) -> bool:
        """Search for words."""
        return self.act(f"search[{words}]")

    def act(self, action: str) -> bool:
        """Step the environment, unless the episode is over."""
        with self._lock:
            if self.over.is_set():
                return False
            _, _, terminated, truncated, info = self._env.step(self._env.dialogue.render("", action))
            self.step += 1
            if terminated or truncated:
                self.over.set()
            return bool(info["valid_action"])


def play_in_browser(env: LLMAgentEnv, announce: Callable[[str], None], *, port: int = 0) -> None:
    """Serve the current episode until it ends; `env.trajectory` records it.

    Args:
        env: a WebShop environment that has been reset, with a dialogue that renders actions (plain).
        announce: called with the address to open.
        port: port of the server; 0 chooses a free one.

    Raises:
        ConfigError: the environment is not WebShop.
        EnvironmentFailure: the site can't be served.
        KeyboardInterrupt: the person left; the trajectory holds the steps so far.
    """
    player = Player(env)
    with SiteServer(port) as server:
        session = secrets.token_urlsafe(9)
        server.sessions[session] = player
        announce(server.page_address(session))
        while not player.over.wait(0.2):
            pass
        time.sleep(LAST_PAGE_SECONDS)
