"""Reads the answer of an OpenAI-compatible chat server into a `Completion`.

Rules:
    - An answer that breaks the protocol (no choice, a value of the wrong type, arrays of different lengths) raises
      `UnreadableReply`: the server failed, not the model.
    - Content may be a text or a list of parts, whose texts are joined. Thoughts that a server returns separately (`reasoning_content`,
      `reasoning`, parts of the type "thinking") are put before the content as `<think>…</think>`.
    - Only the first tool call counts. Arguments that are not a JSON object keep their text, which the wrapper answers with the corrective
      message; the server receives an empty object in their place, because some refuse what is not one.
    - The text of each token is kept beside its log-probability: the server's tokenizer is not here.
    - A response that a content filter withheld keeps what is left of its text, and is a malformed step: the model wrote what the filter
      refuses, and another attempt would hide that. Other unknown reasons to stop are the server's.
    - Impossible log-probabilities (not finite, above 0) and counts are left out: the response counts without them.
    - The k most likely tokens of a position give a lower bound of its entropy (`entropy_bound`). It belongs to the distribution whose
      log-probabilities the server reports; most servers report the model's own, before temperature and nucleus sampling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from empg_gym.agents.border import ROUNDING, clean, count, text_of
from empg_gym.net.json_client import UnreadableReply
from empg_gym.trajectory import Completion, FloatArray, IntArray

_FINISHED = {"stop": "stop", "tool_calls": "stop", "function_call": "stop", "length": "length", "content_filter": "content_filter"}
_NOTHING = 1e-12
_SAME = 1e-5
_LEAST = -1e30
"""Lowest log-probability that is read; servers write -9999 for an impossible token."""


def entropy_bound(top: Sequence[float], chosen: float) -> float:
    """Return the smallest entropy, in nats, of a distribution with these log-probabilities.

    The remaining mass belongs to tokens at most as likely as the least likely of the others in `top`; its entropy is smallest when it is
    concentrated on as few tokens as that allows.

    Args:
        top: log-probabilities of the k most likely tokens. Some servers replace the k-th with the sampled token: the sampled token
            therefore never counts as one of the most likely.
        chosen: log-probability of the sampled token.
    """
    others = list(top)
    same = next((value for value in others if abs(value - chosen) < _SAME), None)
    if same is not None:
        others.remove(same)
    ceiling = math.exp(min(others, default=0.0))
    known = [math.exp(value) for value in (*others, chosen)]
    rest = 1.0 - sum(known)
    if rest > _NOTHING and ceiling > _NOTHING:
        whole = math.floor(rest / ceiling)
        known.append(rest - whole * ceiling)
        full = whole * -ceiling * math.log(ceiling)
    else:
        full = 0.0
    return max(0.0, full + sum(-mass * math.log(mass) for mass in known if mass > _NOTHING))


def read_reply(body: dict[str, Any]) -> tuple[Completion, dict[str, Any]]:
    """Return the completion, and the assistant message to send back with the next request.

    Raises:
        UnreadableReply: the body breaks the protocol.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UnreadableReply("it has no choices")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnreadableReply("its first choice has no message")
    given = message.get("content") or ""
    content = text_of(given)
    thoughts = message.get("reasoning_content") or message.get("reasoning") or _thinking(given)
    if content is None or not isinstance(thoughts, str):
        raise UnreadableReply("the content of its message is neither a text nor a list of parts")
    finish = choice.get("finish_reason") or "stop"
    if not isinstance(finish, str) or finish not in _FINISHED:
        raise UnreadableReply(f"the response was stopped with finish_reason {finish!r}")
    content, thoughts = clean(content), clean(thoughts)
    logprobs, entropies, texts = _likelihoods(choice.get("logprobs"))
    token_ids = _ids(choice.get("token_ids"), "token_ids")
    prompt_ids = _ids(body.get("prompt_token_ids") or choice.get("prompt_token_ids"), "prompt_token_ids")
    if token_ids is not None and logprobs is not None and len(token_ids) != len(logprobs):
        raise UnreadableReply(f"it has {len(token_ids)} token ids and {len(logprobs)} log-probabilities")
    calls, sent_back = _calls(message)
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    completion = Completion(
        text=f"<think>{thoughts.strip()}</think>\n{content}" if thoughts.strip() else content,
        finish_reason=_FINISHED[finish],
        tool_calls=calls,
        prompt_token_ids=prompt_ids if token_ids is not None else None,
        token_ids=token_ids,
        logprobs=logprobs,
        entropies=entropies,
        token_texts=texts,
        entropy_is_bound=entropies is not None,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )
    return completion, {"role": "assistant", "content": content, **sent_back}


def _thinking(content: Any) -> str:
    """Return the thoughts among content parts."""
    parts = content if isinstance(content, list) else ()
    found = (part.get("thinking") for part in parts if isinstance(part, dict) and part.get("type") == "thinking")
    return "".join(text_of(item) or "" for item in found)


def _likelihoods(record: Any) -> tuple[FloatArray | None, FloatArray | None, tuple[str, ...] | None]:
    """Return the log-probability, the entropy bound and the text of each token."""
    positions = record.get("content") if isinstance(record, dict) else None
    if not positions:
        return None, None, None
    try:
        chosen = [float(position["logprob"]) for position in positions]
        tops = [[float(entry["logprob"]) for entry in position.get("top_logprobs") or ()] for position in positions]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UnreadableReply(f"its log-probabilities can't be read ({error!r:.200})") from None
    except OverflowError:
        return None, None, None
    if not all(_LEAST <= value <= ROUNDING for values in (chosen, *tops) for value in values):
        return None, None, None
    texts = tuple(clean(position["token"]) for position in positions if isinstance(position.get("token"), str))
    known = texts if len(texts) == len(positions) else None
    chosen, tops = [min(value, 0.0) for value in chosen], [[min(value, 0.0) for value in top] for top in tops]
    logprobs = np.array(chosen, dtype=np.float32)
    if not all(tops):
        return logprobs, None, known
    bounds = [entropy_bound(top, own) for own, top in zip(chosen, tops, strict=True)]
    return logprobs, np.array(bounds, dtype=np.float32), known


def _ids(value: Any, name: str) -> IntArray | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, int) and 0 <= item < 2**31 for item in value):
        raise UnreadableReply(f"its {name} are not token ids")
    return np.array(value, dtype=np.int32)


def _calls(message: dict[str, Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls):
        raise UnreadableReply("its tool calls can't be read")
    if not calls:
        return (), {}
    name, arguments = clean(str(calls[0]["function"].get("name") or "")), _arguments(calls[0]["function"].get("arguments"))
    call = {
        "id": clean(str(calls[0].get("id") or "call_0")),
        "type": "function",
        "function": {"name": name, "arguments": "{}" if isinstance(arguments, str) else json.dumps(arguments)},
    }
    return ({"name": name, "arguments": arguments},), {"tool_calls": [call]}


def _arguments(raw: Any) -> dict[str, Any] | str:
    """Return the arguments of a tool call, or the text of what is not a JSON object; no arguments are an empty object."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return {}
    try:
        text = raw if isinstance(raw, str) else json.dumps(raw)
    except (ValueError, RecursionError):
        return "…"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return clean(text)
    return found if isinstance(found, dict) else clean(text)


def _count(usage: Any, name: str) -> int | None:
    return count(usage.get(name)) if isinstance(usage, dict) else None
