"""The model and tokenizer that a configuration describes."""

from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.bundle import PolicyBundle


def test_more_episodes_of_the_expert_give_the_tokenizer_more_names():
    def names(episodes):
        config = load_config(
            ["alfworld-tiny"],
            [f"model.from_scratch.tokenizer_episodes={episodes}", "model.from_scratch.width=16", "model.from_scratch.phrases=0"],
        )
        return {token for token in PolicyBundle(config).tokenizer.get_vocab() if token[-1].isdigit()}

    few, many = names(2), names(20)
    assert few < many
