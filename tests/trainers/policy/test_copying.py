"""Heads that continue what the model has read before."""

import pytest
import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.policy.models import load_model

COPYING = FromScratch(layers=2, width=128, heads=4, init_std=0.05, tie_embeddings=False, copying=True)
TEXTS = ["go to the desk", "take a mug"]


def attention_to_the_continuation(shape: FromScratch) -> float:
    """Return the attention of the second layer's heads 0 and 1 to the token that followed the same two tokens earlier, in a sequence that
    repeats itself."""
    model, tokenizer = load_model(from_scratch=shape, tokenizer_texts=TEXTS, seed=3)
    model.set_attn_implementation("eager")
    once = torch.randperm(len(tokenizer), generator=torch.Generator().manual_seed(1))[:60]
    with torch.no_grad():
        layers = model(input_ids=torch.cat([once, once])[None], output_attentions=True).attentions
    places = torch.arange(2, 59)
    return float(layers[1][0, :2, 60 + places, places + 1].mean())


def test_a_repeated_sequence_is_continued():
    assert attention_to_the_continuation(COPYING) > 0.5
    assert attention_to_the_continuation(COPYING.model_copy(update={"copying": False})) < 0.1


def test_the_seed_decides_the_subspaces():
    models = [load_model(from_scratch=COPYING, tokenizer_texts=TEXTS, seed=seed)[0] for seed in (0, 0, 1)]
    weights = [model.model.layers[1].self_attn.q_proj.weight for model in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"layers": 1}, "at least 2 layers"),
        ({"heads": 2}, "3 heads"),
        ({"width": 24}, "8 features"),
        ({"kv_heads": 2}, "omit kv_heads"),
        ({"tie_embeddings": True}, "tie_embeddings = false"),
    ],
)
def test_shapes_that_cannot_copy_are_refused(change, advice):
    with pytest.raises(ConfigError, match=advice):
        load_model(from_scratch=COPYING.model_copy(update=change), tokenizer_texts=TEXTS)
