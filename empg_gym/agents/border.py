"""The border that every reply of every agent crosses: after it, a completion holds only what a trajectory can store and scoring can use.

Rules:
    - What the model wrote is never an error: lone surrogates become U+FFFD, a text in content parts is joined, arguments of a tool call
      that are not a JSON object stay the text that they were, which is a malformed response.
    - What a server adds is dropped where it is impossible, as if it had not been sent: counts that are not whole numbers from 0 to
      `LARGEST_COUNT`, token ids outside int32, log-probabilities that are not finite or above 0, entropies that are not finite or below 0,
      and arrays of different lengths.
    - Only a reply that is not one (no text) is an error of the agent.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empg_gym.errors import AgentError
from empg_gym.trajectory import LARGEST_COUNT, Completion, FloatArray, IntArray

ROUNDING = 1e-3
"""A log-probability up to this is 0, rounded."""
DEEPEST = 32
"""Levels of nested arguments of a tool call."""
_LARGEST_ID = 2**31 - 1


def checked(reply: Completion) -> Completion:
    """Return a reply as it may be recorded; the same object if nothing has to change.

    Raises:
        AgentError: its text is not a text, or its tool calls are not a list of calls.
    """
    text = text_of(reply.text)
    if text is None:
        raise AgentError(f"a reply needs a text, not {type(reply.text).__name__}")
    ids, prompt = _ids(reply.token_ids), _ids(reply.prompt_token_ids)
    logprobs, entropies = reply.logprobs, reply.entropies
    if ids is None and reply.token_ids is not None:
        logprobs = entropies = None
    logprobs = _floats(logprobs, ids, -math.inf, ROUNDING, 0.0)
    entropies = _floats(entropies, ids if ids is not None else logprobs, -ROUNDING, math.inf, math.inf)
    if reply.logprobs is not None and logprobs is None and reply.entropy_is_bound:
        entropies = None  # the bound was computed from them
    fields: dict[str, Any] = {
        "text": clean(text),
        "finish_reason": reply.finish_reason if reply.finish_reason in ("length", "content_filter") else "stop",
        "tool_calls": _calls(reply.tool_calls),
        "token_ids": ids,
        "prompt_token_ids": prompt if ids is not None or reply.token_ids is None else None,
        "logprobs": logprobs,
        "entropies": entropies,
        "token_texts": _texts(reply.token_texts, next((item for item in (ids, logprobs, entropies) if item is not None), None)),
        "prompt_tokens": count(reply.prompt_tokens),
        "completion_tokens": count(reply.completion_tokens),
        "policy_version": count(reply.policy_version),
    }
    changed = {name: value for name, value in fields.items() if _differs(value, getattr(reply, name))}
    return dataclasses.replace(reply, **changed) if changed else reply


def text_of(content: Any) -> str | None:
    """Return a text, or the joined texts of a list of content parts such as `{"type": "text", "text": "…"}`; None for anything else.

    Parts of other types, such as images, are left out.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple) or not content or not all(isinstance(part, Mapping | str) for part in content):
        return None
    texts = [part if isinstance(part, str) else part.get("text") for part in content]
    return "".join(text for text in texts if isinstance(text, str))


def clean(text: str) -> str:
    """Return a text that UTF-8 can encode: lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def count(value: Any) -> int | None:
    """Return a number of tokens, or None if it can't be one."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = operator.index(value)
    return number if 0 <= number <= LARGEST_COUNT else None


def _differs(new: Any, old: Any) -> bool:
    if new is old or isinstance(new, np.ndarray) or isinstance(old, np.ndarray):
        return new is not old
    return bool(new != old) or type(new) is not type(old)


def _ids(values: Any) -> IntArray | None:
    array = _array(values)
    if array is None or (array.size and array.dtype.kind not in "iu"):
        return None
    if array.size:
        numbers = array.tolist()
        if min(numbers) < 0 or max(numbers) > _LARGEST_ID:
            return None
    return values if array is values and array.dtype == np.int32 else array.astype(np.int32)


def _floats(values: Any, like: NDArray[Any] | None, least: float, most: float, ceiling: float) -> FloatArray | None:
    """Return the values if all are finite and within the limits, those above `ceiling` lowered to it, and as many as in `like`."""
    array = _array(values)
    if array is None or array.dtype.kind not in "fiu" or (like is not None and len(like) != len(array)):
        return None
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not array.size:
        return array
    numbers = array.tolist()  # of few numbers, Python finds these faster than NumPy
    smallest, largest = min(numbers), max(numbers)
    if not (math.isfinite(sum(numbers)) and smallest >= least and largest <= most):
        return None
    low = 0.0 if math.isfinite(least) else least
    return np.clip(array, low, ceiling) if largest > ceiling or smallest < low else array


def _array(values: Any) -> NDArray[Any] | None:
    if values is None:
        return None
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.ndim == 1 else None


def _texts(values: Any, like: NDArray[Any] | None) -> tuple[str, ...] | None:
    """Return the texts of tokens, if there is one for each."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        return None
    if like is None or len(like) != len(values):
        return None
    cleaned = tuple(clean(value) for value in values)
    return values if isinstance(values, tuple) and values == cleaned else cleaned


def _calls(calls: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(calls, tuple | list) or not all(isinstance(call, Mapping) for call in calls):
        raise AgentError('tool_calls of a reply must be a list of {"name": …, "arguments": {…}}')
    return tuple(_call(call) for call in calls[:1])  # only the first one counts


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    name, arguments = call.get("name"), call.get("arguments")
    read = clean(arguments) if isinstance(arguments, str) else _plain(arguments, DEEPEST)
    if read is not None and not isinstance(read, dict | str):
        read = json.dumps(read)
    known = {"name": clean(name) if isinstance(name, str) else "", "arguments": {} if read is None else read}
    return known if known != call else dict(call)


def _plain(value: Any, depth: int) -> Any:
    """Return plain JSON; None for what is nested deeper than `depth` or is not JSON."""
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {clean(key): _plain(item, depth - 1) for key, item in value.items() if isinstance(key, str)}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if isinstance(value, bool) or abs(value) <= LARGEST_COUNT else None
    return None
