"""`ChatRow`: a conversation as one token row, token in and token out.

Rules:
    - Generated ids stay in the row unchanged; text that is already in the row is never encoded again.
    - Each step renders the conversation with the tokenizer's chat template. If the rendering begins with the row's text, only the rest is
      encoded and appended. If it does not (the template rewrote history, the conversation's window moved, or the conversation repeats
      a response in another form), a new row starts with the whole rendering.
    - A template that is known to only append (that of `empg_gym.trainers.generate.tokenizer`) is rendered message by message: comparing
      messages then replaces comparing texts, and the cost of a step depends only on its own text.

Example:
    >>> row = ChatRow(tokenizer)
    >>> ids, new_row = row.prompt([{"role": "user", "content": "You are in a room."}])
    >>> row.respond(generated_ids)
    >>> ids, new_row = row.prompt([..., {"role": "assistant", "content": "look"}, {"role": "user", "content": "A bed."}])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from empg_gym.trainers.generate.template_process import process_of
from empg_gym.trainers.generate.tokenizer import CHAT_TEMPLATE, END

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from empg_gym.trajectory import Step

Message = Mapping[str, Any]
_SENTINEL = "sentinel"
_SHORT = 500
"""Characters of a text whose ids are remembered, and ids of a text that is."""
_REMEMBERED = 10_000
"""Texts whose ids are remembered."""


class ChatCodec:
    """Rendering, encoding and decoding with one tokenizer, shared by its rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.appends_only = tokenizer.chat_template == CHAT_TEMPLATE
        self._template = None if self.appends_only else process_of(tokenizer)
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._encode_short = lru_cache(_REMEMBERED)(self._encode)  # texts of small environments repeat
        self._decode_short = lru_cache(_REMEMBERED)(self._decode)
        self.end_of_turn = self._end_of_turn()
        """Id with which the template ends a response."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of the conversation and the opening of the response."""
        if self._template is None:
            return render_messages(messages) + "<|assistant|>"
        return self._template.render(messages, add_generation_prompt=True)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without added special tokens."""
        return list(self._encode_short(text) if len(text) <= _SHORT else self._encode(text))

    def _encode(self, text: str) -> Sequence[int]:
        if self._backend is not None:
            ids: Sequence[int] = self._backend.encode(text, add_special_tokens=False).ids
            return ids
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        return self._decode_short(tuple(ids)) if len(ids) <= _SHORT else self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        if self._backend is not None:
            return str(self._backend.decode(list(ids), skip_special_tokens=False))
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def encode_response(self, text: str) -> list[int]:
        """Return the ids of a response and its end-of-turn token, as a model would have generated them (for supervised rows)."""
        return [*self.encode(text), self.end_of_turn]

    def _end_of_turn(self) -> int:
        """Return the id that the template puts after a response, or the tokenizer's end-of-sequence id if it puts none."""
        messages = [{"role": "user", "content": _SENTINEL}, {"role": "assistant", "content": _SENTINEL}]
        rendered = END if self._template is None else self._template.render(messages, add_generation_prompt=False)
        text = rendered.rpartition(_SENTINEL)[2]
        ids = self.encode(text)
        return ids[0] if ids else int(self.tokenizer.eos_token_id)


class ChatRow:
    """One conversation as a token row. See the module docstring for the rules.

    Args:
        tokenizer: a tokenizer with a chat template, or a `ChatCodec` that many rows share.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | ChatCodec) -> None:
        self.codec = tokenizer if isinstance(tokenizer, ChatCodec) else ChatCodec(tokenizer)
        self.ids: list[int] = []
        """Ids of the row so far, prompts and responses."""
        self.text = ""
        """Text of the row so far."""
        self._asked: list[tuple[str, str]] = []
        """(role, content) of the messages of the last prompt."""
        self._answer = ""
        """Text of the response to it, end-of-turn token included."""

    def prompt(self, messages: Sequence[Message]) -> tuple[list[int], bool]:
        """Append the new part of the conversation and the opening of the next response.

        Returns:
            (new ids of the row, whether they start a new row; the first call always does).
        """
        gained = self._gained(messages)
        new_row = gained is None
        if gained is None:
            gained = self.codec.render(messages)
            self.ids, self.text = [], ""
        ids = self.codec.encode(gained)
        self.ids.extend(ids)
        self.text += gained
        self._asked = [(message["role"], message["content"]) for message in messages]
        self._answer = ""
        return ids, new_row

    def respond(self, ids: Sequence[int]) -> None:
        """Append generated ids, including the end-of-turn token if there is one."""
        text = self.codec.decode(ids)
        self.ids.extend(ids)
        self._answer += text
        self.text += text

    @classmethod
    def of_steps(cls, tokenizer: PreTrainedTokenizerBase | ChatCodec, steps: Sequence[Step]) -> ChatRow:
        """Return the row of recorded steps: the tokens of their last row, id by id; empty if they have no token ids."""
        row = cls(tokenizer)
        for step in steps:
            if step.row == steps[-1].row:
                for ids in (step.prompt_token_ids, step.response_token_ids):
                    row.ids.extend([] if ids is None else ids.tolist())
        row.text = row.codec.decode(row.ids) if row.ids else ""
        return row

    def _gained(self, messages: Sequence[Message]) -> str | None:
        """Return the rendering without the row's text at its beginning, or None if it does not begin with that text."""
        if not self.ids:
            return None
        if self.codec.appends_only and (gained := self._appended(messages)) is not None:
            return gained
        rendering = self.codec.render(messages)
        return rendering[len(self.text) :] if rendering.startswith(self.text) else None

    def _appended(self, messages: Sequence[Message]) -> str | None:
        """Return the gained text without rendering the messages that are in the row, or None if only a full rendering can decide."""
        count = len(self._asked)
        if len(messages) <= count or messages[count]["role"] != "assistant":
            return None
        if any((message["role"], message["content"]) != asked for message, asked in zip(messages, self._asked, strict=False)):
            return None
        answer = messages[count]["content"] + END
        if not answer.startswith(self._answer):
            return None
        return answer[len(self._answer) :] + self.codec.render(messages[count + 1 :])


def render_messages(messages: Sequence[Message]) -> str:
    """Render messages as our own chat template (`CHAT_TEMPLATE`) does, without Jinja."""
    return "".join(f"<|{message['role']}|>{message['content']}{END if message['role'] == 'assistant' else ''}" for message in messages)
