"""Intervals against published values, against exact enumeration, and their coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.scoring.intervals import (
    Z,
    difference_interval,
    mean,
    mean_interval,
    pass_at_k,
    share_interval,
    t_quantile,
    wilson,
)


@pytest.mark.parametrize(
    "freedom, quantile",
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (10, 2.22814), (30, 2.04227), (100, 1.98397), (400, 1.96591)],
)
def test_quantiles_of_t_as_in_the_tables(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=2e-5)


def test_quantiles_continue_smoothly_into_the_expansion():
    assert t_quantile(401) == pytest.approx(t_quantile(400), abs=2e-5)
    assert t_quantile(10**9) == pytest.approx(Z, abs=1e-8)


@pytest.mark.parametrize(
    "successes, number, low, high",
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (15, 148, 0.0624, 0.1605), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_as_published(successes, number, low, high):
    """The last two are the examples of Newcombe (1998, Statistics in Medicine 17:857), table I, method 3."""
    assert wilson(successes / number, number) == pytest.approx((low, high), abs=6e-5)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_single_episodes_are_plain_wilson(outcomes):
    assert share_interval([[outcome] for outcome in outcomes]) == wilson(sum(outcomes) / len(outcomes), len(outcomes))


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=30))
def test_a_share_lies_in_its_interval(clusters):
    share = mean([[float(value) for value in cluster] for cluster in clusters])
    low, high = share_interval(clusters)
    assert 0.0 <= low <= share <= high <= 1.0
    assert high - low >= (w := wilson(share, sum(map(len, clusters)))).high - w.low - 1e-12


def test_repeats_that_always_agree_count_once():
    outcomes = [index % 3 == 0 for index in range(30)]
    once = share_interval([[outcome] for outcome in outcomes])
    thrice = share_interval([[outcome] * 3 for outcome in outcomes])
    assert thrice.low == pytest.approx(once.low, abs=0.01) and thrice.high == pytest.approx(once.high, abs=0.01)
    assert share_interval([[True] * 50]) == wilson(1.0, 1)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=1, max_size=20))
def test_a_score_lies_in_its_interval(clusters):
    low, high = mean_interval(clusters, unit=True)
    assert 0.0 <= low <= mean(clusters) + 1e-12 and mean(clusters) - 1e-12 <= high <= 1.0
    assert low < high


def test_a_mean_as_the_textbook_has_it():
    values = [5.1, 4.9, 6.2, 5.8, 5.5]
    half = 2.77645 * np.std(values, ddof=1) / math.sqrt(5)
    assert mean_interval([[value] for value in values]) == pytest.approx((5.5 - half, 5.5 + half), abs=1e-4)
    assert mean_interval([[1.0]]) is None and mean_interval([[0.3]], unit=True) == (0.0, 1.0)


def test_a_perfect_score_is_not_a_certainty():
    assert mean_interval([[1.0]] * 10, unit=True) == wilson(1.0, 10)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_shares_of_correlated_repeats_are_covered(share):
    """Each task has its own chance (beta distributed): intervals that took episodes as independent would cover about 75 %."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        chances = rng.beta(share, 1 - share, size=40)
        covered += (bounds := share_interval([list(rng.random(4) < chance) for chance in chances])).low <= share <= bounds.high
    assert covered / 400 >= 0.90


def test_scores_are_covered():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        low, high = mean_interval([list(rng.beta(2, 2) + rng.uniform(-0.0, 0.0, size=3)) for _ in range(25)], unit=True)
        covered += low <= 0.5 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_paired_differences_are_covered_and_never_certain():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        differences = rng.choice([-1.0, 0.0, 1.0], size=30, p=[0.1, 0.6, 0.3]).tolist()
        low, high = difference_interval(differences)
        covered += low <= 0.2 <= high
    assert covered / 400 >= 0.92
    low, high = difference_interval([0.0] * 20)
    assert low < 0.0 < high


def test_the_interval_of_a_difference_as_bonett_and_price_give_it():
    """n = 50 pairs, 12 gained and 3 lost: p12 = 13/52, p21 = 4/52, and t in place of z."""
    differences = [1.0] * 12 + [-1.0] * 3 + [0.0] * 35
    p12, p21 = 13 / 52, 4 / 52
    half = math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 52)
    low, high = difference_interval(differences)
    assert (low + high) / 2 == pytest.approx(p12 - p21)
    assert (high - low) / 2 == pytest.approx(half * t_quantile(51) * math.sqrt(52 / 51))


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_mean_over_all_choices(episodes, data):
    successes = data.draw(st.integers(0, episodes))
    k = data.draw(st.integers(1, episodes))
    outcomes = [True] * successes + [False] * (episodes - successes)
    choices = [any(choice) for choice in itertools.combinations(outcomes, k)]
    assert pass_at_k(episodes, successes, k) == pytest.approx(sum(choices) / len(choices))
