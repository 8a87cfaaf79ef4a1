"""`EMPG/WebShop-v0`: find, configure and buy what an instruction asks for (Yao et al. 2022).

The argument `compat` selects one of two behaviors:
    "default"    upstream's shop with its bugs fixed; the card (README.md) lists every difference;
    "upstream"   the same episodes as upstream's text environment, including its off-by-one sampling and its sessions.
Goals and their numbers, texts, actions and rewards are the same in both.
"""

from __future__ import annotations

import random
import string
import weakref
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from empg_gym.env import KeyPart, Outcome, TextEnv
from empg_gym.envs.forgetful import Forgetful
from empg_gym.envs.webshop.build import open_goals, open_store
from empg_gym.envs.webshop.expert import KNOWLEDGE, Expert
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.goal_build import KINDS
from empg_gym.envs.webshop.nouns import choose_nouns
from empg_gym.envs.webshop.official import official_folder
from empg_gym.envs.webshop.progress import Progress
from empg_gym.envs.webshop.rules import RULES, TOOLS
from empg_gym.envs.webshop.session import SessionState, ShopSession
from empg_gym.envs.webshop.shop import Shop
from empg_gym.envs.webshop.splits import SPLITS, split_range
from empg_gym.envs.webshop.state_key import canonical_state
from empg_gym.envs.webshop.text import SEPARATOR
from empg_gym.envs.webshop.view import DirectView, ShopView, admissible
from empg_gym.errors import ConfigError, nearest

MODES = ("text", "text_rich", "html", "url")
COMPAT = ("default", "upstream")
BACKENDS = ("text", "browser")
_LARGEST = 2**32 - 1
"""Upper bound of integer arguments, which become parts of file names and lengths."""


class Payload(NamedTuple):
    """WebShop's part of a snapshot."""

    name: str
    """Session id."""
    session: SessionState
    shown: tuple[str, ...]
    """Latest observations without history, oldest first."""
    done: tuple[str, ...]
    """Latest actions, oldest first."""
    sampler: tuple[Any, ...] | None
    """State of upstream's random generator; None unless `compat="upstream"`."""


class _Generator:
    """The generator of an environment, for its session.

    It does not keep the environment alive: one that referred to itself would keep its files open until it is collected.
    """

    def __init__(self, env: WebShopEnv) -> None:
        self._env = weakref.ref(env)

    def __call__(self) -> random.Random:
        env = self._env()
        assert env is not None, "a session does not outlive its environment"
        return env.generator()

    def __reduce__(self) -> tuple[type[_Generator], tuple[WebShopEnv | None]]:
        return _Generator, (self._env(),)


class WebShopEnv(TextEnv):
    """A shop with a search bar, and an instruction that says what to buy. See the module docstring and the card.

    Args:
        split: "train", "valid", "test" or "all" (goal number = task number).
        data: folder of the official files, or "official" for the set downloaded by `empg-gym data get`; None = the embedded world.
        max_steps: number of actions after which the episode is truncated.
        observation: "text", "text_rich", "html" or "url".
        goals: "synthetic" (generated from attributes and options) or "human" (written by people; imitated in the embedded world).
        compat: "default" or "upstream"; see the module docstring.
        price_seed: seed of the prices within price ranges and of the price caps.
        num_prev_obs: number of earlier observations to put before the current one.
        num_prev_actions: number of earlier actions to put before the current observation.
        show_attrs: add a page with the mined attributes to every product.
        backend: "text", or "browser" for headless Chromium on the package's own site.
        num_products: size of the embedded world, or number of official products to keep; None = the default size, or all.
        nouns: source of the reward's nouns: "auto", "list", "spacy" or "rules".
        expert: query of `expert()`: "direct" (the product's own texts) or "search" (the instruction, as an agent would).
        expert_forgets: share of the tasks, from 0 to 1, in which `expert()` forgets the last option, where there is one, and nearly always
            fails. It is always the same tasks.
        render_mode: None or "ansi".
        progress: callback for the first build of a catalogue; None = a bar on the terminal for long builds.

    Raises:
        ConfigError: an argument is invalid, or the split has no goals.
        DataError: the data is missing or damaged.
    """

    benchmark = "WebShop"
    splits = SPLITS
    version = "1"
    inheritable = frozenset(
        {"max_steps", "observation", "goals", "compat", "price_seed", "num_prev_obs", "num_prev_actions", "show_attrs", "num_products"}
        | {"nouns", "expert", "expert_forgets"}
    )

    def __init__(
        self,
        split: str = "train",
        *,
        data: str | Path | None = None,
        max_steps: int = 15,
        observation: str = "text",
        goals: str = "synthetic",
        compat: str = "default",
        price_seed: int = 0,
        num_prev_obs: int = 0,
        num_prev_actions: int = 0,
        show_attrs: bool = False,
        backend: str = "text",
        num_products: int | None = None,
        nouns: str = "auto",
        expert: str = "direct",
        expert_forgets: float = 0.0,
        render_mode: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(split=split, max_steps=max_steps, render_mode=render_mode)
        _check("observation", observation, MODES)
        _check("goals", goals, KINDS)
        _check("compat", compat, COMPAT)
        _check("backend", backend, BACKENDS)
        _check("expert", expert, KNOWLEDGE)
        _check_number("price_seed", price_seed, 0)
        _check_number("num_prev_obs", num_prev_obs, 0)
        _check_number("num_prev_actions", num_prev_actions, 0)
        _check_number("num_products", 100 if num_products is None else num_products, 1)
        if not isinstance(data, str | Path | None):
            raise ConfigError(f"data must be a folder, 'official', or None for the embedded world, not {data!r}")
        folder = official_folder() if data == "official" else None if data is None else Path(data).expanduser()
        store = open_store(folder, num_products, progress)
        self.shop = Shop(store, open_goals(store, goals, price_seed), goals, choose_nouns(nouns, folder))
        self.goals = split_range(split, len(self.shop.goals))
        if not self.goals:
            raise ConfigError(
                f"split {split!r} has no goals: the catalogue has {len(self.shop.goals)} {goals} goals in total; "
                f"use split='all', the other kind of goals, or more products"
            )
        self._kind = goals
        self._compat = compat
        self._mode = observation
        self._show_attrs = show_attrs
        self._sampling = self.shop.goals.sampling(self.goals)
        self._sampler = self.shop.goals.sampler() if compat == "upstream" else None
        self._drawn: str | None = None
        self._goal: Goal | None = None
        self._name = ""
        self._expert = Expert(self.shop, expert)
        self._forgetful = Forgetful(expert_forgets)
        self._num_prev = (num_prev_obs, num_prev_actions)
        self._shown: deque[str] = deque(maxlen=num_prev_obs + 1)
        self._done: deque[str] = deque(maxlen=max(1, num_prev_actions))
        session = ShopSession(self.shop, _Generator(self), upstream=self._sampler is not None, show_attributes=show_attrs)
        self._does_io = backend == "browser"
        self.view: ShopView = DirectView(session, observation) if backend == "text" else _browser(session, observation)
        if self._sampler is not None:
            self._sample_task()  # upstream's constructor resets once

    # Tasks

    @property
    def num_tasks(self) -> int:
        return len(self.goals)

    def task_id(self, index: int) -> str:
        return f"{self._kind}-{self.goals[index]}"

    def _has_task(self, task: str) -> bool:
        kind, _, number = task.rpartition("-")
        # At most twelve digits: Python refuses to convert thousands of them.
        return kind == self._kind and number.isdecimal() and len(number) <= 12 and str(int(number)) == number and int(number) in self.goals

    def _sample_task(self) -> str:
        if self._sampler is None:
            return self.task_id(self._sampling.weighted(float(self.np_random.random())))
        self._drawn = "".join(self._sampler.choices(string.ascii_lowercase, k=10))
        return self.task_id(self._sampling.upstream(self._sampler))

    def generator(self) -> random.Random:
        """Return the generator that draws the samples of a page of random results."""
        return self._sampler or random.Random(int(self.np_random.integers(1 << 62)))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if seed is not None and self._sampler is not None:
            self._sampler = random.Random(seed)
        self._drawn = None
        return super().reset(seed=seed, options=options)

    # Episode

    def _start(self, task: str) -> str:
        number = task.rpartition("-")[2]
        self._goal = self.shop.goals[int(number)]
        self._name = self._drawn or number
        self.view.start(self._goal, self._name)
        shown = self.view.observation()
        self._shown.clear()
        self._shown.append(shown)
        self._done.clear()
        return shown

    def _apply(self, action: str) -> Outcome:
        feedback = self.view.act(action)
        shown = self.view.observation() if feedback.valid else self._shown[-1]
        self._done.append(action)
        observation = self._with_history(shown)
        self._shown.append(shown)
        return Outcome(observation, feedback.reward, feedback.done, feedback.valid)

    def _with_history(self, shown: str) -> str:
        prev_obs, prev_actions = self._num_prev
        if not prev_obs and not prev_actions:
            return shown
        parts = [shown]
        for back in range(1, 1 + max(prev_obs, prev_actions)):
            if back <= min(prev_actions, len(self._done)):
                parts.append(self._done[-back])
            if back <= min(prev_obs, len(self._shown)):
                parts.append(self._shown[-back])
        return SEPARATOR.join(reversed(parts))

    def _admissible(self) -> list[str]:
        return admissible(self.view.page, self.view.clickables())

    def expert(self) -> str | None:
        return self._consulted()[0]

    def expert_thought(self) -> str:
        return self._consulted()[1]

    def _consulted(self) -> tuple[str | None, str]:
        """Return the expert's next action and its thought."""
        return self._expert.act(self._present, self.view.page, forgetful=self._forgetful.in_task(self.task))

    # Branching

    @property
    def _variant(self) -> str:
        return f"{self._compat}, {self._mode}"

    def _save(self) -> Payload:
        sampler = None if self._sampler is None else self._sampler.getstate()
        return Payload(self._name, self.view.state, tuple(self._shown), tuple(self._done), sampler)

    def _load(self, payload: Payload) -> None:
        self._name = payload.name
        self.view.load(payload.name, payload.session)
        self._shown.clear()
        self._shown.extend(payload.shown)
        self._done.clear()
        self._done.extend(payload.done)
        if self._sampler is not None and payload.sampler is not None:
            self._sampler.setstate(payload.sampler)

    def _state_key(self) -> KeyPart:
        """Return the session in a canonical form; see the module `state_key`.

        The earlier observations and actions that `num_prev_obs` and `num_prev_actions` repeat are memory of the agent, not state.
        """
        state = canonical_state(self.view.state, name=self._name, observation=self._mode, upstream=self._sampler is not None)
        return self._show_attrs, state

    def _task_content(self) -> KeyPart:
        """Return the goal and the size of the catalogue, which a change of any product's place, options or instructions would alter."""
        goal, shop = self._present, self.shop
        wanted = (goal.asin, goal.instruction, goal.attributes, goal.options, goal.price_upper, shop.price(goal.asin))
        return wanted, len(shop.store), len(shop.goals), shop.nouns.name, self._compat

    # The current task

    @property
    def _present(self) -> Goal:
        if self._goal is None:
            _ = self.task  # raises: no task yet
        assert self._goal is not None
        return self._goal

    @property
    def instruction(self) -> str:
        return self._present.instruction

    @property
    def score(self) -> float:
        outcome = self.view.state.outcome
        return 0.0 if outcome is None else outcome.total

    @property
    def success(self) -> bool:
        return self.score == 1.0

    @property
    def split_rule(self) -> str:
        first, last = self.goals.start, self.goals.stop - 1
        return f"goals {first} to {last} of {len(self.shop.goals)} in the one shuffled order; test, valid and train share none"

    @property
    def task_type(self) -> str:
        return self._present.category

    @property
    def does_io(self) -> bool:
        return self._does_io

    @property
    def rules(self) -> str:
        return RULES

    @property
    def tools(self) -> list[dict[str, Any]]:
        return TOOLS

    def tool_action(self, name: str, arguments: dict[str, Any]) -> str:
        argument = {"search": "words", "click": "thing"}.get(name)
        return f"{name}({arguments})" if argument is None else f"{name}[{arguments.get(argument, '')}]"

    @property
    def fingerprint(self) -> str:
        return self.shop.fingerprint

    def _extras(self) -> dict[str, Any]:
        outcome = self.view.state.outcome
        page = self.view.page
        return {
            "page": str(page.kind),
            "has_search_bar": page.has_search_bar,
            "goal_index": self._present.index,
            "nouns": self.shop.nouns.name,
            "reward_details": {} if outcome is None else outcome.details(),
        }

    def close(self) -> None:
        self.view.close()
        super().close()


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} can't be {value!r}; {nearest(str(value), known)}")


def _check_number(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise ConfigError(f"{name} must be an integer from {least} to {_LARGEST}, not {_shown(value)}")


def _shown(value: object) -> str:
    """Return a value for a message; Python refuses to convert thousands of digits."""
    return "a larger one" if isinstance(value, int) and abs(value) > _LARGEST else repr(value)


def _browser(session: ShopSession, mode: str) -> ShopView:
    from empg_gym.envs.webshop.browser import BrowserView

    view: ShopView = BrowserView(session, mode)
    return view
