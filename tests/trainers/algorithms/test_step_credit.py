"""Properties of every method that compares steps by their states."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TrainingError
from tests.trainers.algorithms.batches import (
    batch_x,
    batches,
    close,
    doubles,
    only_groups,
    quick,
    rows,
    values,
)

METHODS = ["gigpo", "hgpo", "graph_gpo", "g2po"]
every_method = pytest.mark.parametrize("method", METHODS)
options = st.fixed_dictionaries(
    {"scale": st.booleans(), "cross_steps": st.booleans(), "penalty": st.sampled_from(["advantage", "return"])},
)


@every_method
@quick
@given(batch=batches(), data=st.data(), chosen=options)
def test_copied_and_permuted_rows_change_nothing(method, batch, data, chosen):
    order = data.draw(st.permutations([*range(len(batch.step)), 0, len(batch.step) - 1]))
    assert torch.equal(values(method, rows(batch, order), **chosen), values(method, batch, **chosen)[torch.tensor(order)])


@every_method
@quick
@given(batch=batches(states=4, max_groups=3), data=st.data(), chosen=options)
def test_names_of_states_do_not_matter(method, batch, data, chosen):
    names = torch.tensor(data.draw(st.permutations(range(12))))
    renamed = replace(batch, state=names[batch.state] * 1000 - 3, next_state=names[batch.next_state] * 1000 - 3)
    close(values(method, renamed, **chosen), values(method, batch, **chosen))


@every_method
@quick
@given(batch=batches(), chosen=options)
def test_groups_are_independent(method, batch, chosen):
    """Also if different groups share ids of states."""
    merged = replace(batch, state=batch.state % 4, next_state=batch.next_state % 4)
    whole = values(method, merged, **chosen)
    close(whole, values(method, batch, **chosen))
    for group in batch.groups.unique().tolist():
        part, held = only_groups(batch, [group])
        close(values(method, part, **chosen), whole[held])


@every_method
@quick
@given(batch=batches(max_groups=1), chosen=options)
def test_equal_trajectories_get_equal_values(method, batch, chosen):
    first, held = batch.trajectory == 0, len(batch.rewards)
    twin = {
        name: torch.cat([getattr(batch, name), getattr(batch, name)[first]])
        for name in ("step", "entropies", "step_rewards", "penalties", "state", "next_state")
    }
    twin |= {name: torch.cat([getattr(batch, name), getattr(batch, name)[:1]]) for name in ("rewards", "groups", "success", "truncated")}
    twin["trajectory"] = torch.cat([batch.trajectory, torch.full((int(first.sum()),), held)])
    result = values(method, replace(batch, **twin), **chosen)
    close(result[len(batch.step) :], result[: len(batch.step)][first])


@every_method
@quick
@given(batch=batches())
def test_a_penalty_is_subtracted_from_its_own_step(method, batch):
    free = values(method, replace(batch, penalties=None))
    close(values(method, batch), free - batch.penalties)


@every_method
def test_a_group_without_a_signal_is_exactly_zero(method):
    failed = replace(batch_x(), rewards=doubles([0.0] * 3), step_rewards=doubles([0.0] * 9), success=torch.tensor([False] * 3))
    assert values(method, replace(failed, penalties=None)).tolist() == [0.0] * 9
    assert values(method, failed).tolist() == [0, 0, 0, 0, -0.1, 0, 0, 0, 0]


@every_method
def test_a_released_penalty_raises_the_valid_steps_of_failures(method):
    """Why this is not the default: with row statistics one invalid step raises every valid step."""
    failed = replace(batch_x(), rewards=doubles([0.0] * 3), step_rewards=doubles([0.0] * 9), success=torch.tensor([False] * 3))
    released = values(method, failed, penalty="return", cross_steps=True, **({"episode": True} if method == "hgpo" else {}))
    assert released[4] < -2 and (released[[0, 1, 2, 3, 5, 6, 7, 8]] > 0.3).all()


@every_method
def test_a_batch_of_one_step(method):
    single = rows(only_groups(replace(batch_x(), groups=torch.tensor([0, 1, 2])), [0])[0], [0])
    expected = 0.0 if method == "hgpo" else 10.0 / (1 + 1e-6)
    close(values(method, single), [expected])


@every_method
@quick
@given(batch=batches(), chosen=options)
def test_values_are_finite_doubles(method, batch, chosen):
    result = values(method, batch, **chosen)
    assert result.dtype == torch.float64 and result.isfinite().all() and not result.requires_grad


@every_method
def test_the_scale_of_rewards_cancels(method):
    """Rewards a tenth the size give the same values, up to eps: no method compares a reward with 10."""
    close(values(method, replace(batch_x(), penalties=None), epsilon=1e-12), values(method, scaled(0.1), epsilon=1e-12), atol=1e-7)


def scaled(factor):
    given_batch = batch_x()
    return replace(given_batch, rewards=factor * given_batch.rewards, step_rewards=factor * given_batch.step_rewards, penalties=None)


@every_method
def test_absent_fields_are_named(method):
    needed = {"gigpo": ["state"], "hgpo": ["state"], "graph_gpo": ["state", "next_state", "success"], "g2po": ["state", "success"]}
    for name in needed[method]:
        with pytest.raises(ConfigError, match=f"{method} needs RolloutSteps.{name}, which this batch lacks"):
            values(method, replace(batch_x(), **{name: None}))


@every_method
def test_invalid_arguments_are_refused(method):
    with pytest.raises(ConfigError, match=f"gamma of {method} must be between 0 and 1, not 1.5"):
        values(method, batch_x(), gamma=1.5)
    with pytest.raises(ConfigError, match="unknown penalty placement 'retrun'; did you mean 'return'"):
        values(method, batch_x(), penalty="retrun")
    with pytest.raises(TrainingError, match="the reward of trajectory 2 is nan"):
        values(method, replace(batch_x(), rewards=doubles([1.0, 0.0, float("nan")])))


@every_method
@quick
@given(batch=batches(), chosen=options)
def test_empg_switched_off_is_the_base_bit_by_bit(method, batch, chosen):
    off = values("empg", batch, k=0.0, zeta=0.0, center=False, base=method, base_options=chosen)
    assert torch.equal(off, values(method, batch, **chosen))


@every_method
def test_a_batch_without_steps(method):
    assert values(method, rows(batch_x(), torch.zeros(0, dtype=torch.long))).shape == (0,)
