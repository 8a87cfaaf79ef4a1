"""Deep Search: answer a question with a search engine within a limited number of steps.

Rules:
    - A step takes one text in the environment's protocol. Everything after its first closing tag is ignored.
    - An answer terminates the episode. The step limit truncates it; the reward is then computed without an answer.
    - A query that was answered before is not searched again; the observation says so. Queries over the limit are not searched either.
    - With one step left, the observation ends with a notice that asks for the answer.
    - Observations never reveal accepted answers or supporting passages, unless a search found them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from empg_gym.env import GoldAnswer, KeyPart, Outcome, TextEnv
from empg_gym.envs.deepsearch import expert, tags
from empg_gym.envs.deepsearch.actions import Action, Answer, Invalid, Search, Visit, answer
from empg_gym.envs.deepsearch.episode import Episode
from empg_gym.envs.deepsearch.library import Library
from empg_gym.envs.deepsearch.protocols import Found, Protocol, QueryResult, get_protocol
from empg_gym.envs.deepsearch.protocols.hermes import call_action
from empg_gym.envs.deepsearch.protocols.tools import tool_list
from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.scoring import Reward, StepRecord, Transcript, get_reward
from empg_gym.envs.deepsearch.setup import open_tasks
from empg_gym.envs.deepsearch.state_key import canonical_state
from empg_gym.errors import ConfigError
from empg_gym.retrieval.backends import Passage, Retriever, Visitor

LAST_STEP = "This is the last turn: give the final answer now."
REPEATED = "This was searched before; see the earlier results."
NO_SEARCHES = "No searches are left; answer with what you know."
ENDED = "The episode has ended."
MAX_TEXT_CHARS = 250_000
"""Maximum number of characters of a passage or page that are processed, regardless of the limits on observations."""
_SLOT = "\0"
"""Where an answer goes in the text of an action."""


class DeepSearchEnv(TextEnv):
    """`EMPG/DeepSearch-v0`; see README.md in this folder for the card.

    Args:
        split: "train", "test" (held out), "ood" (held out and out of domain) or "all".
        data: a question file, a folder of question files, or a mix (`.toml`); None = the embedded encyclopedia.
        corpus: JSON lines of passages to search; None with `data` uses the passages that come with the questions, if any.
        mix: "paper" draws from the question sets in the folder `data` as the paper's mix does.
        task_types: kinds of questions to keep, by `task_type`: ["1hop", "2hop"]; None = all.
        protocol: "search-r1", "arpo", "asearcher", "hermes" or "plain", or an instance.
        reward: "em", "f1", "cover_em", "search_r1_format", "arpo" or "llm_judge", or an instance.
        judge: endpoint of llm_judge: {"base_url": …, "model": …}.
        backend: "bm25", "bm25s", "tantivy", the address of a Search-R1 server, a live search by name, or a retriever.
        visit: whether pages can be visited; None = only where the corpus is local. "fetch" and "jina" visit the live web; a visitor
            object is used as is.
        web: recording and replay of live searches and visits: {"cache": "record", "recording": FILE}.
        max_steps: steps after which the episode is truncated.
        max_searches: queries answered per episode; None = limited by `max_steps` only.
        top_k: passages returned per query.
        passage_chars: maximum number of characters shown per passage or page; None = all.
        observation_tokens: maximum number of words and punctuation marks shown per result; None = all.
        invalid_penalty: subtracted from the reward of an invalid step.
        world_size: number of passages in the embedded encyclopedia.
        world_seed: seed of the embedded encyclopedia.
        render_mode: None or "ansi".

    Raises:
        ConfigError: an argument is out of range, or two arguments are incompatible.
        DataError: a file is missing or damaged.
    """

    benchmark = "DeepSearch"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood", "all")
    version = "1"
    inheritable = frozenset(
        {"max_steps", "protocol", "task_types", "max_searches", "top_k", "passage_chars", "observation_tokens", "world_size", "world_seed"}
    )

    def __init__(
        self,
        *,
        split: str = "train",
        data: str | Path | None = None,
        corpus: str | Path | None = None,
        mix: str | None = None,
        task_types: Sequence[str] | None = None,
        protocol: str | Protocol = "search-r1",
        reward: str | Reward = "em",
        judge: Mapping[str, Any] | None = None,
        backend: str | Retriever = "bm25",
        visit: bool | str | Visitor | None = None,
        web: Mapping[str, Any] | None = None,
        max_steps: int = 10,
        max_searches: int | None = None,
        top_k: int = 3,
        passage_chars: int | None = None,
        observation_tokens: int | None = 500,
        invalid_penalty: float = 0.0,
        world_size: int = 2_000,
        world_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, max_steps=max_steps, render_mode=render_mode)
        limits = {"top_k": top_k, "max_searches": max_searches, "passage_chars": passage_chars, "observation_tokens": observation_tokens}
        for name, value in limits.items():
            if value is None and name != "top_k":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")
        if top_k > 100:
            raise ConfigError(f"top_k must be at most 100, not {top_k}")
        if not invalid_penalty >= 0:
            raise ConfigError(f"invalid_penalty must be at least 0, not {invalid_penalty!r}")
        self.protocol = get_protocol(protocol)
        self.reward = get_reward(reward, protocol=self.protocol.name, judge=judge)
        self.max_searches = max_searches
        self.top_k = top_k
        self.passage_chars = passage_chars
        self.observation_tokens = observation_tokens
        self.invalid_penalty = invalid_penalty
        self._tasks, self._library = open_tasks(
            split=split,
            data=data,
            corpus=corpus,
            mix=mix,
            task_types=task_types,
            backend=backend,
            visit=visit,
            web=web,
            world_size=world_size,
            world_seed=world_seed,
        )
        self._question: Question = self._tasks.questions[0]
        self._episode = Episode()

    # Tasks

    @property
    def num_tasks(self) -> int:
        return len(self._tasks.questions)

    def task_id(self, index: int) -> str:
        return self._tasks.questions[index].id

    def _has_task(self, task: str) -> bool:
        return task in self._tasks.places

    def _sample_task(self) -> str:
        return self._tasks.draw(self.np_random).id

    @property
    def skipped(self) -> dict[str, int]:
        """Number of skipped records, by reason."""
        return dict(self._tasks.skipped)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self._tasks.fingerprint} {self._library.fingerprint}".encode()).hexdigest()[:16]

    # Instructions for the agent

    @property
    def instruction(self) -> str:
        return self._question.text

    @property
    def rules(self) -> str:
        searches = "" if self.max_searches is None else f" and at most {self.max_searches} searches"
        return (
            "Answer the question. You don't have to know the answer: you can look things up in a collection of texts, one step after the "
            f"other.\n{self.protocol.grammar(self.can_visit)}\nYou have {self.max_steps} turns{searches}."
        )

    @property
    def can_visit(self) -> bool:
        """Whether pages can be visited."""
        return self._library.visitor is not None

    @property
    def native_protocol(self) -> bool:
        return self.protocol.name != "plain"

    @property
    def does_io(self) -> bool:
        return self._library.blocking or self.reward.blocking

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts after which a generator may stop; they belong to the response."""
        return self.protocol.stop

    @property
    def tools(self) -> list[dict[str, Any]]:
        return tool_list(visit=self.can_visit, many_queries=self.protocol.many_queries)

    def tool_action(self, name: str, arguments: dict[str, Any]) -> str:
        action = call_action(name, arguments)
        return f"{name}: {action.reason}" if isinstance(action, Invalid) else self.protocol.write(action)

    @property
    def split_rule(self) -> str:
        return "as the data labels its questions; test is held out, ood is held out and of another domain than train"

    @property
    def task_type(self) -> str:
        return self._question.task_type

    @property
    def notice(self) -> str:
        return LAST_STEP if self._episode.verdict is None and self.max_steps - self._step == 1 else ""

    def _admissible(self) -> list[str]:
        return self.protocol.templates(self.can_visit)

    def _extras(self) -> dict[str, Any]:
        episode = self._episode
        left = max(0, self.max_steps - self._step)
        return {
            "task_type": self.task_type,
            "domain": self._question.domain,
            "dataset": self._question.dataset,
            "action_kind": episode.kind,
            "retrieved_ids": list(episode.retrieved),
            "turns_left": left,
            "searches_left": left if self.max_searches is None else max(0, self.max_searches - len(episode.asked)),
            "scored_by": episode.verdict.scored_by if episode.verdict else "",
        }

    # An episode

    def _start(self, task: str) -> str:
        self._question = self._tasks.questions[self._tasks.places[task]]
        self._episode = Episode()
        return f"Question: {tags.neutralise(self._question.text)}"

    def _apply(self, action: str) -> Outcome:
        if self._episode.verdict is not None:
            return Outcome(ENDED, 0.0, False, False)
        parsed = self.protocol.parse(action)
        observation, step = self._execute(parsed.action, parsed.kept)
        valid = step.kind != "invalid"
        self._episode = replace(self._episode, steps=(*self._episode.steps, step))
        reward = 0.0 if valid else 0.0 - self.invalid_penalty
        answered = isinstance(parsed.action, Answer)
        if answered or self._step + 1 >= self.max_steps:
            verdict = self.reward.settle(self._transcript(parsed.action.text if isinstance(parsed.action, Answer) else None))
            self._episode = replace(self._episode, verdict=verdict)
            reward += verdict.reward
        return Outcome(observation, reward, answered, valid)

    def _transcript(self, answer: str | None) -> Transcript:
        return Transcript(
            question=self._question.text,
            golden_answers=self._question.golden_answers,
            steps=self._episode.steps,
            answer=answer,
        )

    def _execute(self, action: Action, kept: str) -> tuple[str, StepRecord]:
        """Execute the action; return the observation and the record of the step."""
        self._episode = replace(self._episode, retrieved=())
        match action:
            case Search(queries):
                return self._search(queries, kept)
            case Visit(url, goal):
                return self._visit(url, goal, kept)
            case Answer():
                return "", StepRecord(response=kept, kind="answer", carried_out=True)
            case Invalid(reason):
                text = f"The action is not valid: {tags.neutralise(reason)}.\n{self.protocol.grammar(self.can_visit)}"
                return text, StepRecord(response=kept, kind="invalid", carried_out=False)

    def _search(self, queries: Sequence[str], kept: str) -> tuple[str, StepRecord]:
        episode = self._episode
        asked = list(dict.fromkeys(queries))
        fresh = [query for query in asked if query.lower() not in episode.asked]
        if not fresh:
            return self.protocol.observation(REPEATED, None), StepRecord(response=kept, kind="search", carried_out=False)
        left = len(fresh) if self.max_searches is None else self.max_searches - len(episode.asked)
        if left <= 0:
            return self.protocol.observation(NO_SEARCHES, None), StepRecord(response=kept, kind="invalid", carried_out=False)
        searched, rest = fresh[:left], [query for query in asked if query not in fresh[:left]]
        found = self._library.search(searched, self.top_k)
        if isinstance(found, str):
            return self.protocol.observation(found, None), StepRecord(response=kept, kind="search", carried_out=False)
        results = [
            QueryResult(tags.neutralise(query), tuple(self._shown(passage) for passage in passages))
            for query, passages in zip(searched, found, strict=True)
        ]
        results += [QueryResult(tags.neutralise(query), (), NO_SEARCHES if query in fresh else REPEATED) for query in rest]
        observation = self.protocol.observation(self.protocol.results(results), self.observation_tokens)
        passages = [passage for hits in found for passage in hits]
        texts = [shown.text for result in results for shown in result.passages]
        seen = [passage for passage, text in zip(passages, texts, strict=True) if text in observation]
        self._episode = replace(
            episode,
            asked=(*episode.asked, *(query.lower() for query in searched)),
            seen=episode.seen | {passage.id for passage in seen},
            seen_titles=episode.seen_titles | {passage.title for passage in seen},
            retrieved=tuple(passage.id for passage in passages),
        )
        return observation, StepRecord(response=kept, kind="search", carried_out=True, retrieved=observation)

    def _shown(self, passage: Passage) -> Found:
        text = self._cut(passage.text)
        return Found(" ".join(tags.neutralise(passage.title).split()), text, tags.neutralise(passage.url))

    def _cut(self, text: str) -> str:
        return tags.cut_chars(tags.neutralise(text[:MAX_TEXT_CHARS]), self.passage_chars)

    def _visit(self, url: str, goal: str, kept: str) -> tuple[str, StepRecord]:
        page = self._library.visit(url)
        if isinstance(page, str):
            kind: Any = "invalid" if not self.can_visit else "visit"
            return self.protocol.observation(page, None), StepRecord(response=kept, kind=kind, carried_out=False)
        body = self.protocol.page(tags.neutralise(url), tags.neutralise(goal), self._cut(page.text))
        observation = self.protocol.observation(body, self.observation_tokens)
        return observation, StepRecord(response=kept, kind="visit", carried_out=True, retrieved=observation)

    # Outcome and branching

    @property
    def success(self) -> bool:
        return self._episode.verdict is not None and self._episode.verdict.success

    @property
    def score(self) -> float:
        return self._episode.verdict.score if self._episode.verdict is not None else 0.0

    def expert(self) -> str | None:
        action = self._expert_action()
        return None if action is None else self.protocol.write(action, _thought(action))

    def expert_thought(self) -> str:
        action = self._expert_action()
        if action is None or self.native_protocol:  # a native action contains its thought
            return ""
        return expert.evidence(action, self._question, self._episode, self._library.corpus)

    def _expert_action(self) -> Action | None:
        _ = self.task  # raises before the first reset
        if self._episode.verdict is not None:
            return None
        left = self.max_steps - self._step
        can_search = left > 1 and (self.max_searches is None or len(self._episode.asked) < self.max_searches)
        return expert.next_action(self._question, self._episode, self._library.corpus, can_search=can_search)

    def gold_answer(self) -> GoldAnswer | None:
        _ = self.task  # raises before the first reset
        gold = answer(next(iter(self._question.golden_answers), ""))
        if isinstance(gold, Invalid):
            return None
        written = self.protocol.write(Answer(_SLOT), _thought(gold))
        return GoldAnswer(written.partition(_SLOT)[0], gold.text)

    @property
    def _variant(self) -> str:
        return self.protocol.name

    def _save(self) -> Episode:
        return self._episode

    def _load(self, payload: Episode) -> None:
        self._episode = payload

    def _state_key(self) -> KeyPart:
        """Return the settings that shape observations and rewards, and the state of the episode (see `deepsearch.state_key`)."""
        settings = (self.top_k, self.passage_chars, self.observation_tokens, self.reward.name, float(self.invalid_penalty))
        progress = self.reward.progress(self._transcript(None))
        return settings, canonical_state(self._episode, max_searches=self.max_searches, progress=progress)

    def _task_content(self) -> KeyPart:
        """Return question, answers and library; protocol, reward and limits are conditions of a run, not of its tasks."""
        question = self._question
        return question.text, tuple(question.golden_answers), self._library.fingerprint

    @property
    def library(self) -> Library:
        """The library that is searched."""
        return self._library


def _thought(action: Action) -> str:
    return f"I need to find out about {action.queries[0]}." if isinstance(action, Search) else "I know enough to answer."
