"""Rows of conversations, with our own template and with templates in the styles of Qwen2.5 and Qwen3."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trainers.generate.tokenizer import END, train_tokenizer
from empg_gym.trajectory import Step
from tests.trainers.generate.worlds import texts

CHATML = (
    "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""In the style of Qwen2.5: its own default system prompt, and a line break after each message."""
FORGETFUL = (
    "{%- set last = namespace(user=-1) %}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{%- for m in messages %}{% set content = m.content %}"
    "{%- if m.role == 'assistant' and loop.index0 < last.user and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""In the style of Qwen3: drops the thoughts of responses before the last user message."""


def make(template: str | None = None) -> ChatCodec:
    tokenizer = train_tokenizer(texts(), whole=() if template is None else ("<|im_start|>", "<|im_end|>"))
    if template is not None:
        tokenizer.chat_template = template
    return ChatCodec(tokenizer)


OWN, QWEN25, QWEN3 = make(), make(CHATML), make(FORGETFUL)
SLOW = make()
SLOW.appends_only = False
ALL = pytest.mark.parametrize("codec", [OWN, SLOW, QWEN25, QWEN3], ids=["own", "own-rendered-whole", "qwen2.5", "qwen3"])


def conversation(codec: ChatCodec, answers: list[str], row: ChatRow | None = None):
    """Hold a conversation; yield (messages, new ids, new row, row) of each step."""
    row = row or ChatRow(codec)
    messages = [{"role": "system", "content": "You play with words."}]
    for step, answer in enumerate(answers):
        messages.append({"role": "user", "content": f"You see apple {step}."})
        ids, new_row = row.prompt(messages)
        yield messages, ids, new_row, row
        row.respond(codec.encode_response(answer))
        messages.append({"role": "assistant", "content": answer})


@ALL
def test_a_row_appends_what_the_conversation_gains(codec):
    for step, (messages, ids, new_row, row) in enumerate(conversation(codec, ["apple", "bench jar", "", "the fork"] * 3)):
        assert new_row == (step == 0)
        whole = codec.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert row.text == whole == codec.decode(row.ids)
        assert row.ids[len(row.ids) - len(ids) :] == ids


def test_end_of_turn_is_that_of_the_template():
    assert OWN.decode([OWN.end_of_turn]) == END
    assert QWEN25.decode([QWEN25.end_of_turn]) == QWEN3.decode([QWEN3.end_of_turn]) == "<|im_end|>"
    assert QWEN25.encode_response("apple") == [*QWEN25.encode("apple"), QWEN25.end_of_turn]


def test_generated_ids_stay_as_they_are():
    """A model may spell a word with other tokens than the tokenizer."""
    for codec in (OWN, SLOW, QWEN25):
        row = ChatRow(codec)
        messages = [{"role": "user", "content": "apple"}]
        row.prompt(messages)
        spelled = [token for letter in "apple" for token in codec.encode(letter)]
        assert spelled != codec.encode("apple")
        row.respond([*spelled, codec.end_of_turn])
        before = list(row.ids)
        _, new_row = row.prompt([*messages, {"role": "assistant", "content": "apple"}, {"role": "user", "content": "bench"}])
        assert not new_row
        assert row.ids[: len(before)] == before


def test_a_response_may_come_in_pieces():
    for codec in (OWN, SLOW, QWEN25):
        row = ChatRow(codec)
        messages = [{"role": "user", "content": "apple"}]
        row.prompt(messages)
        for token in codec.encode_response("bench jar"):
            row.respond([token])
        _, new_row = row.prompt([*messages, {"role": "assistant", "content": "bench jar"}, {"role": "user", "content": "fork"}])
        assert not new_row
        assert row.text == codec.decode(row.ids)


def test_dropped_thoughts_open_a_new_row():
    answers = ["<think>where?</think>apple", "<think>there</think>bench", "jar", "fork"]
    rows = [(new_row, list(row.ids)) for _, _, new_row, row in conversation(QWEN3, answers)]
    assert [new_row for new_row, _ in rows] == [True, True, True, False]
    for (messages, _, _, row), (_, ids) in zip(conversation(QWEN3, answers), rows, strict=True):
        assert QWEN3.decode(ids) == QWEN3.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert row.ids == ids
    assert [new_row for _, _, new_row, _ in conversation(QWEN25, answers)] == [True, False, False, False]


@ALL
def test_a_cut_response_is_closed_by_the_template(codec):
    row = ChatRow(codec)
    messages = [{"role": "user", "content": "apple"}]
    row.prompt(messages)
    row.respond(codec.encode("bench jar"))
    ids, new_row = row.prompt([*messages, {"role": "assistant", "content": "bench jar"}, {"role": "user", "content": "fork"}])
    assert not new_row
    assert ids[0] == codec.end_of_turn


@ALL
def test_another_history_opens_a_new_row(codec):
    messages = [{"role": "user", "content": "apple"}, {"role": "assistant", "content": "bench"}, {"role": "user", "content": "fork"}]
    for other in (
        messages[2:],
        [{"role": "user", "content": "Apple"}, *messages[1:]],
        [messages[0], {"role": "assistant", "content": "bench!"}, messages[2]],
        [{"role": "system", "content": "new"}, *messages],
        messages[:1],
    ):
        row = ChatRow(codec)
        row.prompt(messages[:1])
        row.respond(codec.encode_response("bench"))
        ids, new_row = row.prompt(other)
        assert new_row and row.ids == ids
        assert row.text == codec.decode(ids) == codec.render(other)


@ALL
def test_the_row_of_recorded_steps_continues_as_the_row_itself(codec):
    system, first = {"role": "system", "content": "You play with words."}, {"role": "user", "content": "You see apple 0."}
    row = ChatRow(codec)
    prompt, _ = row.prompt([system, first])
    response = codec.encode_response("jar")
    row.respond(response)
    step = Step(
        observation="You see apple 0.", response="jar", thought="", action="jar", valid_action=True, reward=0.0,
        prompt_token_ids=np.array(prompt, np.int32), response_token_ids=np.array(response, np.int32),
    )  # fmt: skip
    branch = ChatRow.of_steps(codec, [step])
    assert (branch.ids, branch.text) == (row.ids, row.text)
    more = [system, first, {"role": "assistant", "content": "jar"}, {"role": "user", "content": "fork"}]
    assert branch.prompt(more) == row.prompt(more)
    assert ChatRow.of_steps(codec, []).prompt([system, first])[1], "without steps the first prompt opens a row"


CONTENTS = st.sampled_from(["", "a", "apple", " bench", END, "<|user|>", f"a{END}", "<|assistant|>", f"{END}<|user|>a"]) | st.text(
    max_size=4
)
CHANGES = st.sampled_from(["none", "none", "none", "cut", "edit", "drop", "insert", "shorten", "user twice"])


@given(st.lists(st.tuples(CONTENTS, CONTENTS, CHANGES), min_size=1, max_size=6), st.sampled_from(["apple", "<|user|>"]))
def test_rendering_step_by_step_equals_rendering_the_whole(steps, opening):
    """However a conversation changes, rendering our own template step by step gives the rows of whole renderings."""
    fast, slow = ChatRow(OWN), ChatRow(SLOW)
    messages = [{"role": "system", "content": opening}]
    for observation, answer, change in steps:
        messages.append({"role": "user", "content": observation})
        assert fast.prompt(messages) == slow.prompt(messages)
        ids = OWN.encode(answer) if change == "cut" else OWN.encode_response(answer)
        fast.respond(ids)
        slow.respond(ids)
        messages.append({"role": "assistant", "content": answer + ("!" if change == "edit" else "")})
        if change == "drop":
            del messages[1]
        elif change == "insert":
            messages.insert(1, {"role": "user", "content": observation})
        elif change == "shorten":
            messages = messages[:1]
        elif change == "user twice":
            messages.append({"role": "user", "content": answer})
        assert (fast.ids, fast.text) == (slow.ids, slow.text)
