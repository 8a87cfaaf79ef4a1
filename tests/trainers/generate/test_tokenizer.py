"""The tokenizer trained on an environment's text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from empg_gym.errors import ConfigError
from empg_gym.trainers.generate.chat import render_messages
from empg_gym.trainers.generate.phrases import find_phrases, splitter
from empg_gym.trainers.generate.tokenizer import END, train_tokenizer
from tests.trainers.generate.worlds import NOUNS, texts

TOKENIZER = train_tokenizer(texts())
TAGS = ("<think>", "</think>", "<action>", "</action>")
TAGGED = train_tokenizer([*texts(), "<think>apple</think><action>go</action>"] * 2, whole=TAGS)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "critic"])
PIECES = st.sampled_from([END, "<|user|>", "<think>", "apple", " bench", "\n", "é", "👍🏽", "\x00"])


@given(st.lists(st.text() | PIECES).map("".join))
def test_any_text_is_encoded_without_loss(text):
    for tokenizer in (TOKENIZER, TAGGED):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_frequent_words_are_one_token_with_their_space():
    for noun in NOUNS:
        assert len(TOKENIZER.encode(f" {noun}")) == 1
    line = " ".join(NOUNS)
    assert len(TOKENIZER.encode(f" {line}")) == len(NOUNS)


def test_rare_words_are_spelled_in_pieces_or_bytes():
    assert 1 < len(TOKENIZER.encode(" drawers")) <= len("drawers") + 1
    assert len(TOKENIZER.encode("日")) == 3


def test_a_spelled_word_has_the_same_pieces_after_a_space():
    names = "".join(f" {first}{second} x[{first}{second}]" for first in ("Kel", "Zho", "Bru") for second in ("ske", "mir", "dan"))
    tokenizer = train_tokenizer([names], max_words=1, separate_spaces=True)
    for text in ("Kelske", "Zhomir", "Brumir"):
        pieces = tokenizer.encode(text)
        assert tokenizer.encode(f" {text}") == [*tokenizer.encode(" "), *pieces]
        assert len(pieces) < len(text)
        assert tokenizer.decode(tokenizer.encode(f" {text}")) == f" {text}"


def test_whole_strings_are_one_token_and_stay_in_the_text():
    ids = TAGGED.encode("<think>apple</think><action>go</action>")
    assert len(ids) == 6
    assert TAGGED.decode(ids, skip_special_tokens=True) == "<think>apple</think><action>go</action>"


def test_the_same_texts_give_the_same_tokenizer_in_any_order():
    lines = texts()
    random.Random(1).shuffle(lines)
    assert train_tokenizer(lines).backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()


def test_a_step_needs_three_tokens_in_addition_to_its_text():
    talk = [{"role": "user", "content": "apple"}, {"role": "assistant", "content": "bench"}, {"role": "user", "content": "jar"}]
    text = TOKENIZER.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    words = sum(len(TOKENIZER.encode(message["content"])) for message in talk)
    assert len(TOKENIZER.encode(text)) == words + 3 + 2


@given(st.lists(st.fixed_dictionaries({"role": ROLES, "content": st.text() | PIECES}), min_size=1))
def test_rendering_without_jinja_equals_the_template(messages):
    assert render_messages(messages) == TOKENIZER.apply_chat_template(messages, tokenize=False)
    assert render_messages(messages) + "<|assistant|>" == TOKENIZER.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )


def test_a_saved_tokenizer_loads_unchanged(tmp_path):
    TAGGED.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == TAGGED.chat_template
    assert (loaded.eos_token, loaded.pad_token) == (TAGGED.eos_token, TAGGED.pad_token)
    for text in [*texts()[:10], "<think>apple</think>", "  zebra\t日本 🎈 , . !", END]:
        assert loaded.encode(text) == TAGGED.encode(text)
        assert loaded.decode(loaded.encode(text)) == text


def test_no_text_is_an_error():
    with pytest.raises(ConfigError, match="without text"):
        train_tokenizer([])


ROOM = [
    "You see a mug 1, and a mug 2.",
    "You see a desk 1, and a pen 2.",
    "You take the mug 2 from the desk 1.",
    "take mug 2 from desk 1",
] * 20
PHRASES = train_tokenizer(ROOM, phrases=30, names=True)


@given(st.lists(st.text() | PIECES | st.sampled_from(ROOM)).map("".join))
def test_phrases_and_names_lose_nothing(text):
    assert PHRASES.decode(PHRASES.encode(text, add_special_tokens=False)) == text


def test_phrases_and_names_are_one_token():
    pieces = [PHRASES.decode([token]) for token in PHRASES.encode("You see a mug 2, and a desk 1.")]
    assert pieces == ["You see a", " mug 2", ", and a", " desk 1", "."]


def test_a_phrase_ends_where_a_word_ends():
    pieces = [PHRASES.decode([token]) for token in PHRASES.encode("You see an apple. You see a 7")]
    assert "You see a" not in pieces and pieces[0] == "You"


def test_phrases_are_found_by_frequency():
    assert find_phrases(["go to"] * 30 + ["go up"] * 31, 1) == ["go up"]
    assert find_phrases(["go to"] * 31 + ["go up"] * 30, 1) == ["go to"]
    assert find_phrases(["go to the end"] * 19, 9) == []
    assert all(not any(map(str.isdigit, phrase)) for phrase in find_phrases(ROOM, 50))


def test_phrases_contain_no_nouns():
    assert find_phrases(["find the mug"] * 30, 9) == ["find the", "find the mug"]
    assert find_phrases(["find the mug"] * 30 + ["a mug 2"], 9) == ["find the"]


SHOP = [
    "Instruction: [SEP] Find me socks with size: 4x-large [SEP] B0WRC4R8BX [SEP] Crew Socks [SEP] $11.08",
    "Instruction: [SEP] Find me socks with size: 4x-large [SEP] size [SEP] 4x-large [SEP] Crew Socks [SEP] $11.08",
    "click[B0WRC4R8BX]",
    "click[4x-large]",
    "Find me socks with size: pack of 3 [SEP] size [SEP] pack of 3 [SEP] Crew Socks [SEP] $11.08",
    "click[pack of 3]",
] * 20
MARKUP = train_tokenizer(SHOP, phrases=30, markup=True)


@given(st.lists(st.text() | PIECES | st.sampled_from(SHOP)).map("".join))
def test_words_of_markup_lose_nothing(text):
    assert MARKUP.decode(MARKUP.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("phrases", [0, 30])
def test_a_name_in_markup_is_the_same_token_wherever_it_is(phrases):
    tokenizer = train_tokenizer(SHOP, phrases=phrases, markup=True)
    for name in ("B0WRC4R8BX", "4x-large", "pack of 3"):
        (token,) = tokenizer.encode(name)
        assert token in tokenizer.encode(f"[SEP] {name} [SEP] more")
        assert token in tokenizer.encode(f"with size: {name}")
        assert token in tokenizer.encode(f"click[{name}]")


def test_a_phrase_in_markup_ends_at_punctuation_or_with_a_whole_word():
    start = "Instruction: [SEP] Find me socks with size: "
    pieces = [MARKUP.decode([token]) for token in MARKUP.encode(SHOP[1])]
    assert pieces[:4] == [start, "4x-large", " [SEP] size [SEP] ", "4x-large"]
    cut = splitter(["Find me"], markup=True)
    for text, first in (("Find me 7", "Find me"), ("Find me, too", "Find me"), ("Find men", "Find"), ("Find me-too", "Find")):
        assert cut.pre_tokenize_str(text)[0][0] == first.replace(" ", "Ġ")
