"""Helpers for tests of policy losses."""

import torch

from empg_gym.trainers.algorithms import PolicyTokens, get_policy_loss


def policy_tokens(log_ratios, advantages, *, row=None, step=None, weights=None, entropies=None):
    """Return float64 tokens with these log-ratios; the old log-probabilities are -1."""
    count = len(log_ratios)
    old = torch.full((count,), -1.0, dtype=torch.float64)
    return PolicyTokens(
        logprobs=(old + torch.as_tensor(log_ratios, dtype=torch.float64)).requires_grad_(),
        old_logprobs=old,
        advantages=torch.as_tensor(advantages, dtype=torch.float64),
        weights=torch.ones(count, dtype=torch.float64) if weights is None else torch.as_tensor(weights, dtype=torch.float64),
        row=torch.zeros(count, dtype=torch.long) if row is None else torch.as_tensor(row),
        step=None if step is None else torch.as_tensor(step),
        entropies=torch.zeros(count, dtype=torch.float64) if entropies is None else torch.as_tensor(entropies, dtype=torch.float64),
    )


def evaluate(name, tokens, **options):
    """Return (loss, gradient with respect to the log-probabilities, clipped) as plain numbers."""
    result = get_policy_loss(name, options)(tokens)
    (slope,) = torch.autograd.grad(result.loss, tokens.logprobs)
    return result.loss.item(), slope.tolist(), result.clipped.tolist()
