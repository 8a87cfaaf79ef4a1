"""Proposition 1 of the paper: the expected squared norm of a softmax policy's score is 1 - exp(-H_2), H_2 the Renyi-2 entropy."""

import pytest
import torch

GENERATOR = torch.Generator().manual_seed(5)


def expected_squared_score(logits, temperature=1.0):
    """E_a ||grad_z log pi(a)||^2 by differentiating every action's log-probability, pi = softmax(z / temperature)."""
    jacobian = torch.autograd.functional.jacobian(lambda z: torch.log_softmax(z / temperature, dim=0), logits)
    return float((torch.softmax(logits / temperature, dim=0) * jacobian.square().sum(dim=1)).sum())


def renyi2(probabilities):
    return -torch.log(probabilities.square().sum())


def shannon(probabilities):
    return -(probabilities * probabilities.log()).sum()


@pytest.mark.parametrize("size", [2, 5, 50, 400])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_score_norm_is_one_minus_exp_of_minus_renyi2(size, temperature):
    logits = 3 * torch.randn(size, dtype=torch.float64, generator=GENERATOR)
    entropy = renyi2(torch.softmax(logits / temperature, dim=0))
    expected = float(1 - torch.exp(-entropy)) / temperature**2
    assert expected_squared_score(logits, temperature) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [2, 5, 50])
def test_range_and_bound_by_shannon_entropy(size):
    logits = torch.randn(size, dtype=torch.float64, generator=GENERATOR)
    value = expected_squared_score(logits)
    assert 0 <= value <= 1 - 1 / size
    assert value <= float(1 - torch.exp(-shannon(torch.softmax(logits, dim=0))))
    uniform = torch.zeros(size, dtype=torch.float64)
    assert expected_squared_score(uniform) == pytest.approx(1 - 1 / size)


def test_it_is_not_a_function_of_shannon_entropy():
    """Two policies of equal Shannon entropy whose score norms differ."""
    first = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    low, high = 0.34, 0.999
    for _ in range(200):
        middle = (low + high) / 2
        second = torch.tensor([middle, 0.9999 * (1 - middle), 5e-5 * (1 - middle), 5e-5 * (1 - middle)], dtype=torch.float64)
        second = torch.stack([second[0] * 0.5, second[0] * 0.5, second[1], second[2] + second[3]])
        low, high = (middle, high) if shannon(second) > shannon(first) else (low, middle)
    assert float(shannon(second)) == pytest.approx(float(shannon(first)), abs=1e-6)
    assert abs(expected_squared_score(first.log()) - expected_squared_score(second.log())) > 0.02
