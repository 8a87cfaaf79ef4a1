"""Ids of states: exact and similar."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.states import state_ids
from tests.trainers.algorithms.batches import quick

LONG = " ".join(["the quick brown fox jumps over a lazy dog near some river"] * 50)
WORDS = st.text(alphabet="abc ", max_size=12)


def test_equal_texts_of_one_group_have_one_id():
    assert state_ids(["a", "b", "a", "a", "b"], [0, 0, 0, 1, 0]).tolist() == [0, 1, 0, 2, 1]
    assert state_ids([], []).tolist() == []


def test_a_function_may_make_the_key():
    assert state_ids(["A", "a ", "b"], [0, 0, 0], how=lambda text: text.strip().lower()).tolist() == [0, 0, 1]


def test_long_texts_that_differ_by_a_letter_are_similar():
    """difflib's default ignores the frequent characters of long texts and rates these two near 0."""
    assert SequenceMatcher(None, "#" + LONG, LONG).ratio() < 0.1
    assert state_ids([LONG, "#" + LONG], [0, 0], how="similar").tolist() == [0, 0]
    assert state_ids([LONG, "#" + LONG], [0, 1], how="similar").tolist() == [0, 1]


def test_a_text_is_compared_with_the_first_of_a_cluster():
    """Similarity is not transitive: the third text is like the second, which is not a first member."""
    texts = ["aaaaaaaaaa", "aaaaaaaabb", "aaaaaabbbb"]
    assert state_ids(texts, [0, 0, 0], how="similar", threshold=0.75).tolist() == [0, 0, 1]


def test_a_ratio_equal_to_the_threshold_is_similar():
    assert state_ids(["aaaaa", "aaa"], [0, 0], how="similar", threshold=0.75).tolist() == [0, 0]


@quick
@given(st.lists(st.tuples(WORDS, st.integers(0, 1)), max_size=12), st.sampled_from([0.5, 0.8, 0.95]))
def test_similar_equals_the_search_without_bounds(pairs, threshold):
    clusters, expected = [], []
    for text, group in pairs:
        for number, (first, of) in enumerate(clusters):
            if of == group and (text == first or SequenceMatcher(None, text, first, autojunk=False).ratio() >= threshold):
                expected.append(number)
                break
        else:
            expected.append(len(clusters))
            clusters.append((text, group))
    texts, groups = [text for text, _ in pairs], [group for _, group in pairs]
    assert state_ids(texts, groups, how="similar", threshold=threshold).tolist() == expected


def test_invalid_arguments_are_refused():
    with pytest.raises(ConfigError, match="unknown way to compare states 'similiar'; did you mean 'similar'"):
        state_ids(["a"], [0], how="similiar")
    with pytest.raises(ConfigError, match="above 0 and below 1, not 1"):
        state_ids(["a"], [0], how="similar", threshold=1)
    with pytest.raises(ConfigError, match="one group per text, not 2 for 1 texts"):
        state_ids(["a"], [0, 1])
