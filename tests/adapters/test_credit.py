"""EMPG on padded rows: equal to `modulate` on the steps, in one process or several, whatever the layout of the rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from empg_gym.adapters.credit import EMPGOptions, RowSteps, modulate_rows, options_of
from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.empg import modulate


def batch(seed, rows=5, length=12):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, length, generator=generator) < 0.6
    return torch.randn(rows, generator=generator), torch.rand(rows, length, generator=generator), mask


def runs(row):
    """Return the maximal runs of ones of a row, as lists of positions."""
    found, previous = [], False
    for position, one in enumerate(row):
        if one:
            found.append([position]) if not previous else found[-1].append(position)
        previous = one
    return found


@given(st.integers(0, 10_000))
def test_each_run_gets_what_modulate_gives_its_step(seed):
    advantages, entropies, mask = batch(seed)
    steps = [(row, number, run) for row in range(len(mask)) for number, run in enumerate(runs(mask[row].tolist()))]
    values, stats = modulate_rows(advantages, entropies, mask, EMPGOptions(zeta=0.3))
    h = torch.tensor([float(entropies[row, run].double().mean()) for row, _, run in steps], dtype=torch.float64)
    a = torch.tensor([float(advantages[row]) for row, _, _ in steps], dtype=torch.float64)
    ids = torch.tensor([[row, number] for row, number, _ in steps]).reshape(-1, 2)
    expected = torch.zeros_like(entropies)
    for (row, _, run), value in zip(steps, modulate(a, h, ids[:, 0], ids[:, 1], zeta=0.3), strict=True):
        expected[row, run] = float(value)
    assert_close(values, expected, rtol=0, atol=1e-6)
    assert not values[~mask].any() and (not steps or stats["empg/entropy_max"] == pytest.approx(float(h.max())))


@given(st.integers(0, 10_000), st.booleans())
def test_switched_off_the_base_is_unchanged_to_the_bit(seed, per_token):
    advantages, entropies, mask = batch(seed)
    given_ = advantages[:, None].expand_as(entropies).clone() if per_token else advantages
    values, _ = modulate_rows(given_, entropies, mask, EMPGOptions(k=0, zeta=0, center=False))
    assert torch.equal(values, torch.where(mask, advantages[:, None], 0.0))


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_two_processes_equal_one(seed, cut):
    advantages, entropies, mask = batch(seed)
    whole, _ = modulate_rows(advantages, entropies, mask, EMPGOptions())
    parts = [slice(0, cut), slice(cut, None)]
    tables = [RowSteps.of(advantages[part], entropies[part], mask[part]).table for part in parts]
    for process, part in enumerate(parts):
        own, _ = modulate_rows(
            advantages[part], entropies[part], mask[part], EMPGOptions(), gather=lambda table: tables, process=process
        )  # fmt: skip
        assert_close(own, whole[part], rtol=0, atol=1e-6)


def test_a_trajectory_in_several_rows_equals_one_long_row():
    advantages, entropies, mask = torch.tensor([1.0, -1.0]), torch.rand(2, 6), torch.tensor([[1, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 1]])
    whole, _ = modulate_rows(advantages, entropies, mask, EMPGOptions())
    cut = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 0, 1], [0, 1, 1]])
    pieces, _ = modulate_rows(
        advantages.repeat_interleave(2), entropies.reshape(4, 3), cut, EMPGOptions(), trajectory=torch.tensor([4, 4, 9, 9])
    )
    assert_close(pieces.reshape(2, 6), whole, rtol=0, atol=1e-6)


def test_rows_without_generated_tokens():
    values, _ = modulate_rows(torch.ones(2), torch.rand(2, 3), torch.zeros(2, 3), EMPGOptions())
    assert torch.equal(values, torch.zeros(2, 3))


def test_bad_input_is_one_sentence():
    with pytest.raises(ConfigError, match=r"of shape \[B, T\], not \(3,\), \(2, 4\) and \(2, 4\)$"):
        modulate_rows(torch.ones(3), torch.rand(2, 4), torch.ones(2, 4), EMPGOptions())
    with pytest.raises(ConfigError, match="must be finite and at least 0"):
        modulate_rows(torch.ones(2), torch.rand(2, 4), torch.ones(2, 4), EMPGOptions(k=-1))
    with pytest.raises(ConfigError, match=r"^the options of EMPG are k, k_future, zeta, center; got alpha$"):
        options_of({"alpha": 1})
    assert options_of(None) == EMPGOptions() == options_of({"k": 1.0})
