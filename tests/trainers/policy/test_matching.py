"""Heads whose queries and keys start with the same weights."""

import pytest
import torch

from empg_gym.trainers.policy.matching import match_queries_and_keys
from empg_gym.trainers.policy.models import FromScratch, load_model


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_token_scores_itself_highest(kv_heads):
    torch.manual_seed(0)
    query, key = torch.randn(4 * 8, 16), torch.randn(kv_heads * 8, 16)
    wanted = 2.0 * key.clone()
    match_queries_and_keys(query, key, head_size=8, scale=2.0)
    torch.testing.assert_close(key, wanted)
    tokens = torch.nn.functional.normalize(torch.randn(20, 16), dim=1)
    queries = (tokens @ query.T).unflatten(1, (4, 8)).transpose(0, 1)
    keys = (tokens @ key.T).unflatten(1, (kv_heads, 8)).transpose(0, 1).repeat_interleave(4 // kv_heads, dim=0)
    scores = queries @ keys.transpose(1, 2)
    torch.testing.assert_close(scores.diagonal(dim1=1, dim2=2), keys.square().sum(2))
    assert all(torch.linalg.eigvalsh(head).min() > -1e-4 for head in scores)


def test_only_the_first_layer_starts_so():
    shape = FromScratch(layers=2, width=32, heads=4, kv_heads=2, match_scale=1.5)
    model, _ = load_model(from_scratch=shape, tokenizer_texts=["go to the desk", "take a mug"])
    shared = [
        torch.equal(layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight.unflatten(0, (2, 8)).repeat_interleave(2, 0).flatten(0, 1))
        for layer in model.model.layers
    ]
    assert shared == [True, False]
