"""A person plays an episode on the site; every click is a step of the environment, so limits and records are the environment's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.page import Page
from empg_gym.envs.webshop.site.server import SiteServer
from empg_gym.errors import ConfigError

LAST_PAGE_SECONDS = 1.0
"""The site stays up this long after the episode's end, so that the last page still loads."""


class Player:
    """One episode as the site's `Visitor`. Requests come from several threads; they take turns."""

    def __init__(self, env: LLMAgentEnv) -> None:
        if not isinstance(env.unwrapped, WebShopEnv):
            raise ConfigError(f"only WebShop has a site to play on, not {type(env.unwrapped).__name__}; play in the terminal instead")
        self._env = env
        self._shop: WebShopEnv = env.unwrapped
        self._turn = threading.Lock()
        self.step = 0
        self.over = threading.Event()

    @property
    def page(self) -> Page:
        """The page that is open."""
        return self._shop.view.page

    def search(self, words: str) -> bool:
        """Search for words."""
        return self.act(f"search[{words}]")

    def act(self, action: str) -> bool:
        """Step the environment, unless the episode is over."""
        with self._turn:
            if self.over.is_set():
                return False
            _, _, terminated, truncated, info = self._env.step(self._env.dialogue.render("", action))
            self.step += 1
            if terminated or truncated:
                self.over.set()
            return bool(info["valid_action"])


def play_in_browser(env: LLMAgentEnv, announce: Callable[[str], None], *, port: int = 0) -> None:
    """Serve the running episode until it ends; the record is `env.trajectory`.

    Args:
        env: a WebShop environment that has been reset, with a dialogue that renders actions (plain).
        announce: is told the address to open.
        port: 0 takes a free one.

    Raises:
        ConfigError: the environment is not WebShop.
        EnvironmentFailure: the site can't be served.
        KeyboardInterrupt: the person left; the trajectory so far stands.
    """
    player = Player(env)
    with SiteServer(port) as server:
        server.sessions["game"] = player
        announce(server.page_address("game"))
        while not player.over.wait(0.2):
            pass
        time.sleep(LAST_PAGE_SECONDS)
