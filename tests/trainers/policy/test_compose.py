"""Tokens of several words start as the sum of their words."""

import pytest
import torch

from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.policy.models import load_model

TEXTS = ["You see a mug 1, and a mug 2."] * 30 + ["Put a mug on the bed. You see a bed 1."] * 30


@pytest.mark.parametrize("tied", [True, False])
def test_tokens_that_share_a_word_are_similar(tied):
    shape = FromScratch(layers=1, width=256, heads=2, whole_names=True, phrases=20, tie_embeddings=tied)
    plain, tokenizer = load_model(from_scratch=shape, tokenizer_texts=TEXTS)
    model, _ = load_model(from_scratch=shape.model_copy(update={"compose_embeddings": True}), tokenizer_texts=TEXTS)
    one, two, noun, other = (tokenizer.encode(text) for text in (" mug 1", " mug 2", " mug", " bed 1"))
    assert [len(ids) for ids in (one, two, noun, other)] == [1, 1, 1, 1]
    layers = (model.get_input_embeddings(), plain.get_input_embeddings()), (model.get_output_embeddings(), plain.get_output_embeddings())
    for layer, before in layers:
        weight = layer.weight.detach()

        def cosine(a: list[int], b: list[int], weight: torch.Tensor = weight) -> float:
            return float(torch.cosine_similarity(weight[a[0]], weight[b[0]], dim=0))

        assert cosine(one, two) == pytest.approx(0.5, abs=0.15)
        assert cosine(one, noun) == pytest.approx(0.5**0.5, abs=0.15)
        assert cosine(one, other) == pytest.approx(0.5, abs=0.15), "they share the number"
        assert cosine(two, other) == pytest.approx(0.0, abs=0.2)
        torch.testing.assert_close(weight[noun], before.weight[noun], msg="a word keeps its row")
        assert float(weight[one].std()) == pytest.approx(float(before.weight.detach().std()), rel=0.3)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied


def test_words_of_markup_are_composed_as_a_whole():
    texts = ["size: pack of 3 [SEP] B0AB12", "size: pack of 4 [SEP] B0AB34", "click[pack of 3]", "click[pack of 4]"] * 30
    texts += ["click[B0AB12]", "click[B0AB34]"] * 30
    shape = FromScratch(layers=1, width=256, heads=2, markup_words=True, compose_embeddings=True)
    model, tokenizer = load_model(from_scratch=shape, tokenizer_texts=texts)
    weight = model.get_input_embeddings().weight.detach()
    ids = [tokenizer.encode(name) for name in ("pack of 3", "pack of 4", "B0AB12", "B0AB34")]
    assert [len(one) for one in ids] == [1, 1, 1, 1]
    three, four, first, second = (weight[one[0]] for one in ids)
    assert float(torch.cosine_similarity(three, four, dim=0)) == pytest.approx(2 / 3, abs=0.15)
    assert float(torch.cosine_similarity(first, second, dim=0)) == pytest.approx(0.0, abs=0.2)
