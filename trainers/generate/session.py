"""`RowSession`: the responses of one episode as token rows, the part that all backends of this package share.

Rules:
    - Token in, token out: `ChatRow` keeps the row; the backend reads its ids and returns generated ids.
    - The session's random generator is the only source of randomness of its episode, and is passed to the backend with each prompt.
    - The chat template receives no list of tools: the dialogue format describes the actions.
    - A prompt that leaves no room for a response is a `RowOverflowError`; a response is cut where the row is full.
    - After a failure or a cancellation, a session starts its next step with a new row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from empg_gym.errors import ConfigError, RowOverflowError
from empg_gym.trainers.generate.base import Response
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trajectory import Completion, Step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from empg_gym.agents.base import Message

Place = TypeVar("Place")
"""What a backend keeps for a row between two prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a backend has to respond to."""

    row_ids: list[int]
    """The whole row, `new_ids` included."""
    new_ids: list[int]
    """Ids that the row gained since the last response; the whole row if `new_row` is set."""
    new_row: bool
    limit: int
    """Maximum length of the response, in tokens, at least 1."""
    rng: np.random.Generator
    """Of the session. A backend draws the same amount for every response, whatever its length."""


class RowBackend(Protocol[Place]):
    """What a generator offers to its sessions."""

    codec: ChatCodec
    policy_version: int
    max_response_tokens: int
    max_row_tokens: int | None

    def open_row(self, ids: Sequence[int]) -> Place:
        """Return the place of a row that begins with `ids`, which no prompt will repeat."""
        ...

    async def respond(self, place: Place, prompt: Prompt) -> Response:
        """Return the response to a prompt."""
        ...

    def release(self, place: Place) -> None:
        """Release the row's place and drop its pending request, if any."""
        ...


class RowSession(Generic[Place]):
    """The row of one episode.

    Args:
        backend: the generator that opened the session.
        seed: of the session.
        path: steps before the episode's own, of a branched episode; the session continues their row, id by id.
    """

    def __init__(self, backend: RowBackend[Place], seed: int, path: Sequence[Step] = ()) -> None:
        self._backend = backend
        self._rng = np.random.Generator(np.random.Philox(seed))
        self._chat = ChatRow.of_steps(backend.codec, path)
        self._place = backend.open_row(self._chat.ids)
        self._unread: list[int] = []
        """Ids of the row that the backend has not read, from `follow`."""
        self._unread_row = False
        """Whether they start a new row."""

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        """Return the response to the last message.

        Raises:
            RowOverflowError: the prompt leaves no room for a response.
        """
        backend = self._backend
        new_ids, new_row = self._chat.prompt(messages)
        length, limit = len(self._chat.ids), backend.max_response_tokens
        if backend.max_row_tokens is not None:
            if length >= backend.max_row_tokens:
                self._restart()
                raise RowOverflowError(
                    f"the prompt makes the row {length} tokens long, but a row holds at most {backend.max_row_tokens} with the response; "
                    "raise max_row_tokens, or show less history"
                )
            limit = min(limit, backend.max_row_tokens - length)
        version = backend.policy_version
        self._read_later(new_ids, new_row)
        prompt = Prompt(row_ids=self._chat.ids, new_ids=self._unread, new_row=self._unread_row, limit=limit, rng=self._rng)
        self._unread, self._unread_row = [], False
        try:
            response = await backend.respond(self._place, prompt)
        except BaseException:
            self._restart()
            raise
        ids = response.ids.tolist()
        self._chat.respond(ids)
        return Completion(
            text=backend.codec.decode(ids[:-1] if response.stopped else ids),
            finish_reason="stop" if response.stopped else "length",
            prompt_token_ids=np.array(new_ids, np.int32),
            token_ids=response.ids,
            logprobs=response.logprobs,
            entropies=response.entropies,
            new_row=new_row,
            policy_version=version,
            prompt_tokens=length,
            completion_tokens=len(ids),
        )

    def follow(self, messages: Sequence[Message], text: str) -> Completion:
        """Append a response to the last message that somebody else gave, such as an expert. The backend reads it with the next prompt."""
        new_ids, new_row = self._chat.prompt(messages)
        response = self._chat.codec.encode_response(text)
        self._chat.respond(response)
        self._read_later([*new_ids, *response], new_row)
        return Completion(text=text, prompt_token_ids=np.array(new_ids, np.int32), token_ids=np.array(response, np.int32), new_row=new_row)

    def close(self) -> None:
        """Release the row's place."""
        self._backend.release(self._place)

    def _read_later(self, ids: list[int], new_row: bool) -> None:
        self._unread = list(ids) if new_row else [*self._unread, *ids]
        self._unread_row = self._unread_row or new_row

    def _restart(self) -> None:
        self._unread, self._unread_row = [], False
        self._backend.release(self._place)
        self._chat = ChatRow(self._backend.codec)
        self._place = self._backend.open_row(())


def row_limits(model: PreTrainedModel, max_response_tokens: int, max_row_tokens: int | None) -> tuple[int, int | None]:
    """Return the limits of responses and rows, both within the model's number of positions.

    Raises:
        ConfigError: a limit below 1.
    """
    for name, value in (("max_response_tokens", max_response_tokens), ("max_row_tokens", max_row_tokens)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (max_row_tokens, positions) if limit is not None]
    return min([max_response_tokens, *limits]), min(limits) if limits else None


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, codec: ChatCodec) -> frozenset[int]:
    """Return the template's end-of-turn id and every end-of-sequence id of the tokenizer and the model."""
    ids = {codec.end_of_turn}
    for named in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        ids.update([] if named is None else [named] if isinstance(named, int) else named)
    return frozenset(ids)
