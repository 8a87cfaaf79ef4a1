"""Settings of chat templates: variants that keep thoughts, arguments, a fixed date; all saved with the tokenizer."""

from __future__ import annotations

import datetime
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import chat_template_utils

from empg_gym.errors import ConfigError
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trainers.generate.chat_template import VARIANTS, ChatTemplate, set_chat_template
from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend
from empg_gym.trainers.generate.tokenizer import CHAT_TEMPLATE, train_tokenizer
from tests.trainers.generate import templates
from tests.trainers.generate.worlds import texts

THOUGHTS = ["<think>\nwhere?\n</think>\n\napple", "<think>there</think><action>bench</action>", "jar", "<think>\n\n</think>\n\nfork"] * 2
ORIGINALS = {"qwen2_5": templates.QWEN25, "qwen3": templates.QWEN3, "qwen3_5_think": templates.QWEN35, "llama3_2": templates.LLAMA32}


def tokenizer_with(template: str | dict[str, str] | None, **settings):
    tokenizer = train_tokenizer(texts(), whole=templates.CHATML)
    tokenizer.chat_template = template
    set_chat_template(tokenizer, ChatTemplate(**settings))
    return tokenizer


def rows_of_an_episode(tokenizer) -> tuple[int, ChatRow]:
    """Hold a conversation with thoughts; return the number of its rows and the last row."""
    codec = ChatCodec(tokenizer)
    row = ChatRow(codec)
    messages = [{"role": "system", "content": "You play with words."}]
    rows = 0
    for step, answer in enumerate(THOUGHTS):
        messages.append({"role": "user", "content": f"You see apple {step}."})
        _, new_row = row.prompt(messages)
        rows += new_row
        assert row.text == codec.render(messages)
        row.respond(codec.encode_response(answer))
        messages.append({"role": "assistant", "content": answer})
    return rows, row


THINKING = st.sampled_from([{}, {"enable_thinking": True}, {"enable_thinking": False}])


@pytest.mark.parametrize(("name", "original"), [("qwen3-keep-thoughts", templates.QWEN3), ("qwen3.5-keep-thoughts", templates.QWEN35)])
@pytest.mark.parametrize("args", [{}, {"enable_thinking": True}, {"enable_thinking": False}])
def test_a_variant_makes_one_row_of_an_episode_with_thoughts(name, original, args):
    dropped, _ = rows_of_an_episode(tokenizer_with(original, args=args))
    kept, row = rows_of_an_episode(tokenizer_with(original, name=name, args=args))
    assert dropped > len(THOUGHTS) / 2
    assert kept == 1
    assert all(answer + "<|im_end|>" in row.text for answer in THOUGHTS)


@pytest.mark.parametrize(("name", "original"), [("qwen3-keep-thoughts", templates.QWEN3), ("qwen3.5-keep-thoughts", templates.QWEN35)])
@given(args=THINKING, system=st.booleans(), content=st.text("ab \n<", max_size=5).map(str.strip))
def test_a_variant_opens_a_conversation_as_the_original_does(name, original, args, system, content):
    tokenizer = VARIANT_TOKENIZER
    messages = [{"role": "system", "content": "Be brief."}] * system + [{"role": "user", "content": content}]
    tokenizer.chat_template = original
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **args)
    set_chat_template(tokenizer, ChatTemplate(name=name, args=args))
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == expected


VARIANT_TOKENIZER = tokenizer_with(None)


def test_a_variant_refuses_tools_and_other_families():
    tokenizer = tokenizer_with(templates.QWEN3, name="qwen3-keep-thoughts")
    with pytest.raises(Exception, match="has no tools"):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tools=[{"type": "function"}], tokenize=False)
    other = train_tokenizer(texts())
    for name in VARIANTS:
        with pytest.raises(ConfigError, match=r"lacks <\|im_start\|>"):
            set_chat_template(other, ChatTemplate(name=name))


def test_arguments_are_part_of_the_template():
    messages = [{"role": "user", "content": "apple"}]
    plain = tokenizer_with(templates.QWEN3)
    assert plain.chat_template == templates.QWEN3, "nothing is set, so nothing changes"
    quiet = tokenizer_with(templates.QWEN3, args={"enable_thinking": False})
    rendered = quiet.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == plain.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    set_chat_template(quiet, ChatTemplate())
    assert quiet.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == rendered, "a header stays in effect"
    before = len(quiet.chat_template)
    for _ in range(3):
        set_chat_template(quiet, ChatTemplate(args={"enable_thinking": True}))
    assert len(quiet.chat_template) == before - 1, "settings replace each other"
    assert "</think>" not in quiet.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(value=VALUES, body=st.sampled_from(["", "\n", "\n\nx", "{#- c -#}\n"]))
def test_any_value_of_a_configuration_arrives(value, body):
    tokenizer = VARIANT_TOKENIZER
    tokenizer.chat_template = body + "{{ given }}{{ given is none }}{{ given is boolean }}{{ given is string }}"
    messages = [{"role": "user", "content": ""}]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, given=value)
    set_chat_template(tokenizer, ChatTemplate(args={"given": value}))
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected


class _Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 5, 6, tzinfo=tz)


@pytest.mark.parametrize(("template", "printed"), [(templates.LLAMA32, "Today Date: {:%d %b %Y}"), (templates.MACRO, "date: {:%Y-%m-%d}")])
def test_a_template_prints_the_same_date_on_any_day(monkeypatch, template, printed):
    messages = [{"role": "user", "content": "apple"}]
    monkeypatch.setattr(chat_template_utils, "datetime", _Later)
    chat_template_utils._compile_jinja_template.cache_clear()
    clock = tokenizer_with(None)
    clock.chat_template, clock.bos_token = template, "<|end|>"
    assert printed.format(_Later.now()) in clock.apply_chat_template(messages, tokenize=False), "the test's clock is in effect"
    for wanted, date in ((None, datetime.date(2024, 7, 26)), (datetime.date(2025, 2, 3), datetime.date(2025, 2, 3))):
        tokenizer = tokenizer_with(None)
        tokenizer.chat_template, tokenizer.bos_token = template, "<|end|>"
        set_chat_template(tokenizer, ChatTemplate(date=wanted))
        for _ in range(2):
            assert printed.format(date) in tokenizer.apply_chat_template(messages, tokenize=False)
            set_chat_template(tokenizer, ChatTemplate())
    chat_template_utils._compile_jinja_template.cache_clear()


def test_a_saved_tokenizer_is_complete(tmp_path):
    """A checkpoint renders as the run did: nothing has to be passed along."""
    tokenizer = tokenizer_with(templates.QWEN3, name="qwen3.5-keep-thoughts", args={"enable_thinking": False})
    tokenizer.save_pretrained(tmp_path)
    loaded = TokenizersBackend.from_pretrained(tmp_path)
    assert loaded.chat_template == tokenizer.chat_template
    assert rows_of_an_episode(loaded)[0] == 1


def test_a_template_from_a_file_a_text_or_the_tokenizer(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(templates.QWEN25)
    assert tokenizer_with(CHAT_TEMPLATE, name=str(path)).chat_template == templates.QWEN25
    assert tokenizer_with(CHAT_TEMPLATE, name=templates.QWEN3).chat_template == templates.QWEN3
    several = {"default": templates.QWEN25, "rag": templates.QWEN3}
    assert tokenizer_with(several, name="rag").chat_template == templates.QWEN3
    assert tokenizer_with(CHAT_TEMPLATE).chat_template == CHAT_TEMPLATE
    assert tokenizer_with(None).chat_template is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "qwen3-keep-thought"}, "did you mean 'qwen3-keep-thoughts'"),
        ({"name": "missing.jinja"}, "expected the path of a Jinja file"),
        ({"args": {"enable_thinkin": False}}, "did you mean 'enable_thinking'"),
        ({"args": {"messages": []}}, "can't be an argument"),
        ({"args": {"a b": 1}}, "can't be an argument"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ConfigError, match=message):
        tokenizer_with(templates.QWEN3, **settings)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, which ships the templates of many models, is not installed")
@pytest.mark.parametrize("name", ORIGINALS)
@given(
    answers=st.lists(st.sampled_from([*THOUGHTS, "a\n\nb", "</think>x", ""]), max_size=3),
    system=st.booleans(),
    opened=st.booleans(),
    args=THINKING,
)
def test_the_short_templates_behave_like_the_originals(name, answers, system, opened, args):
    spec = importlib.util.find_spec("trl")
    original = (Path(spec.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja").read_text()
    messages = [{"role": "system", "content": "Be brief."}] * system
    for answer in answers:
        messages += [{"role": "user", "content": "You see a bench."}, {"role": "assistant", "content": answer}]
    messages = [*messages, {"role": "user", "content": "And now?"}] if opened or not answers else messages
    rendered = []
    for template in (original, ORIGINALS[name]):
        tokenizer = VARIANT_TOKENIZER
        tokenizer.chat_template, tokenizer.bos_token = template, "<|end|>"
        rendered.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened, **args))
    assert rendered[0] == rendered[1]
