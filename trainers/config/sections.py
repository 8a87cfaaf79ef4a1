"""The configuration of a training run: one TOML file, read into these models. Importing this imports no torch.

Every key is listed here with its default and its unit; an unknown key is an error that names the nearest one
(`empg_gym.trainers.config.file`). Phases with `steps = 0` are left out.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from empg_gym.chat_settings import ChatSettings
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.backends import EnvBackend

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _finite(value: Any) -> Any:
    """Refuse inf and nan at any depth."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _finite(item)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"every number must be finite, not {value}")
    return value


def _path(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"expected the path of a folder, not {value!r}")
    return value


Options = Annotated[dict[str, Any], AfterValidator(_finite)]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RunConfig(Section):
    """Where and how the run happens."""

    seed: Seed = 0
    """Decides weights, tasks, samples and the order of rows."""
    out: Annotated[str, AfterValidator(_path)] = "runs/train"
    """Folder of everything that the run writes."""
    device: str = "auto"
    """"auto" takes CUDA where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of forward passes and generation; the master weights are float32. "auto" is bfloat16 on a CUDA device that has it."""
    threads: PositiveInt | None = None
    """Threads of torch on the processor; None leaves it to torch."""
    gradient_checkpointing: bool = False
    """Compute each layer again in the backward pass: less memory, more time."""
    checkpoint_every: PositiveInt = 50
    """Steps of a phase between checkpoints; each phase also ends with one."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints that stay, the last of each phase besides."""
    sample_every: PositiveInt = 10
    """Reinforcement steps between those whose episodes are written to trajectories.jsonl."""
    samples: NonNegativeInt = 4
    """Episodes written each time."""
    keep_rollouts: bool = False
    """Keep the journal of all rollouts (rollouts/), not only of the steps since the last checkpoint."""


class EnvConfig(Section):
    """The environment, as `gymnasium.make` takes it, and the dialogue with it."""

    id: str = "EMPG/ALFWorld-v0"
    split: str = "train"
    data: str | None = None
    """Folder of official data; None takes the embedded world."""
    max_steps: PositiveInt | None = None
    """Turns of an episode; None takes the environment's own limit."""
    options: Options = Field(default_factory=dict)
    """Further keyword arguments of the environment."""
    embedded_options: Options = Field(default_factory=dict)
    """Those that only the embedded world has (its size); without effect where `data` is set."""
    dialogue: str | None = None
    history: NonNegativeInt | None = None
    show_admissible: bool = False
    system_prompt: str | None = None
    """None makes it of the environment's rules and the dialogue's; "" leaves it out."""

    def recipe(self, split: str | None = None) -> EnvRecipe:
        """Return the recipe of the environment for a split; None means the training split."""
        fixed: dict[str, Any] = {"split": split or self.split}
        fixed |= {name: value for name, value in (("data", self.data), ("max_steps", self.max_steps)) if value is not None}
        return EnvRecipe(
            self.id,
            {**self.options, **fixed},
            embedded_kwargs={name: value for name, value in self.embedded_options.items() if name not in fixed},
            chat=ChatSettings(
                dialogue=self.dialogue,
                history=self.history,
                show_admissible=self.show_admissible,
                system_prompt=self.system_prompt,
            ),
        )


class FromScratch(Section):
    """Shape of a Qwen2-type model with random weights; the defaults give 0.3M parameters plus the embeddings."""

    layers: PositiveInt = 2
    width: PositiveInt = 128
    """Features of a hidden state."""
    heads: PositiveInt = 4
    kv_heads: PositiveInt | None = None
    """Heads of keys and values; None takes `heads`."""
    mlp: PositiveInt | None = None
    """Inner features of the gated feed-forward part; None takes twice the width."""
    max_positions: PositiveInt = 8192
    """Tokens of the longest row."""
    tie_embeddings: bool = True
    """Whether input and output share one embedding."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the initial weights."""
    max_words: PositiveInt = 16_000
    """Words that are one token, at most, the most frequent first; others are spelled from pieces. Few of them make the model practise
    spelling, which it needs where held-out tasks bring new names."""
    pieces: PositiveInt = 256
    """Merges trained on all words, from which the others are spelled: with more of them a name has fewer pieces."""


class ModelConfig(Section):
    """Exactly one of the two."""

    name: str | None = None
    """Hugging Face folder, or name on the hub."""
    from_scratch: FromScratch | None = None
    """Shape of a new model; its tokenizer is trained on the environment's text."""

    @model_validator(mode="after")
    def _one(self) -> ModelConfig:
        if (self.name is None) == (self.from_scratch is None):
            raise ValueError("give exactly one of model.name and model.from_scratch")
        return self


class RolloutConfig(Section):
    """How episodes are generated."""

    backend: str = "hf"
    """Generator backend: a name in `empg_gym.trainers.generate.backends`, or your own as `module:function`."""
    backend_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the backend."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature in training; evaluations have their own (`eval.temperature`)."""
    max_response_tokens: PositiveInt = 512
    """Maximum response length, in tokens."""
    max_row_tokens: PositiveInt = 4096
    """Maximum row length (prompts and responses), in tokens."""
    concurrency: PositiveInt = 128
    """Episodes that run at the same time."""
    retries: NonNegativeInt = 1
    """Retries per failed episode."""
    env_backend: str = "inline"
    """Where environments run: "inline", "processes" (each in a process of its own, with deadlines), or a user's own as `module:object`."""
    step_seconds: PositiveFloat = 30.0
    """Longest time for a step of an environment in a process; later it is ended and the episode retried."""
    reset_seconds: PositiveFloat = 120.0
    """The same for a reset, and for making the environment."""

    @field_validator("env_backend")
    @classmethod
    def _known(cls, name: str) -> str:
        EnvBackend(name=name)
        return name

    def environments(self) -> EnvBackend:
        """Return where environments run."""
        return EnvBackend(name=self.env_backend, step_seconds=self.step_seconds, reset_seconds=self.reset_seconds)


class OptimizerConfig(Section):
    """AdamW."""

    lr: PositiveFloat = 1e-6
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises linearly."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """"cosine" and "linear" fall towards `final_lr_share` of the rate, which the step behind the phase's last would have."""
    final_lr_share: Share = 0.1


class WarmStartConfig(Section):
    """Supervised learning on expert episodes."""

    steps: NonNegativeInt = 0
    episodes: PositiveInt = 2000
    """Different expert episodes."""
    episodes_per_step: PositiveInt = 32
    detours: Share = 0.0
    """Share of turns on which a random action is carried out instead of the expert's, one that is admissible or was so earlier in the
    episode. The model sees how the expert goes on from there; the detour itself is not learned."""
    observation_weight: NonNegativeFloat = 0.0
    """Weight of the tokens that the model reads, where 1 is that of those it writes. Observations repeat names, so that predicting them
    teaches a model from scratch to copy."""
    only_solved: bool = True
    """Leave out episodes in which the expert did not succeed."""
    token_budget: PositiveInt = 16384
    """Places (padding included) of a forward pass."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, warmup_steps=20, schedule="cosine")


class RLConfig(Section):
    """Reinforcement."""

    steps: NonNegativeInt = 0
    tasks_per_step: PositiveInt = 16
    """Groups of a rollout batch."""
    repeats: PositiveInt = 8
    """Episodes of a group: same task, same seed of the environment."""
    reward: str = "success"
    """The outcome of a trajectory: "success" (0 or 1), "score" (0..1), "return" (sum of the environment's rewards), or your own function of
    the trajectory as `module:function`."""
    reward_scale: PositiveFloat = 1.0
    """Factor of the reward (10 in verl-agent); without influence where advantages are divided by their deviation."""
    invalid_action_penalty: NonNegativeFloat = 0.0
    """Subtracted from the advantage of each step whose action could not be carried out, after normalisation."""
    minibatches: PositiveInt = 1
    """Updates that a batch is cut into, by trajectories."""
    epochs: PositiveInt = 1
    """Passes over a batch."""
    aggregation: str = "token-mean"
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of the entropy bonus in the loss; its gradient is computed only where this is above 0."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the k3 estimate of the KL divergence to the policy that reinforcement began with."""
    old_logprobs: Literal["recompute", "rollout"] = "recompute"
    """The scorer, the source of old log-probabilities and entropies: a forward pass of the trainer, or the generator. A batch in which the
    generator left values out is scored by the trainer, and the run says so."""
    token_budget: PositiveInt = 16384
    """Places (padding included) of a forward pass."""
    logit_chunk: PositiveInt = 4096
    """Places whose logits are in memory at once."""
    optimizer: OptimizerConfig = OptimizerConfig()


class StageConfig(Section):
    """One filter or shaper: a name alone, or a table with the name and its options."""

    name: str
    options: Options = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class AlgorithmConfig(Section):
    """The stages of a training step, in their order: registered names, or your own functions as `module:function`, and their options."""

    task_source: str = "uniform"
    """Which tasks a step plays (`empg_gym.trainers.collect.tasks`)."""
    task_source_options: Options = Field(default_factory=dict)
    plan: str = "groups"
    """Which episodes are played for them: "groups", "dynamic" or "branching" (`empg_gym.trainers.collect.plans`)."""
    plan_options: Options = Field(default_factory=dict)
    filters: tuple[StageConfig, ...] = ()
    """Which groups are trained on, by their outcomes; before every statistic (`empg_gym.trainers.data.rewards`)."""
    shapers: tuple[StageConfig, ...] = ()
    """What is added to the reward of a trajectory."""
    state_key: Literal["state", "observation"] = "state"
    """What makes two states equal for step-level methods: the environment's exact key, or the observation text."""
    advantage: str = "empg"
    advantage_options: Options = Field(default_factory=dict)
    policy_loss: str = "ppo_clip"
    policy_loss_options: Options = Field(default_factory=dict)


class EvalConfig(Section):
    """Evaluation on fixed lists of tasks."""

    splits: tuple[str, ...] = ()
    tasks: PositiveInt = 128
    """Tasks of each split: a fixed draw without repetition (all of them, where the split has fewer)."""
    every: PositiveInt | None = None
    """Reinforcement steps between evaluations; None evaluates before and after only."""
    curve_tasks: PositiveInt | None = None
    """Tasks of the evaluations in between; None takes `tasks`."""
    temperature: NonNegativeFloat = 0.4
    seed: Seed = 0
    """Draws tasks and samples; the same in all runs that are compared."""


class TrainConfig(Section):
    """The whole configuration."""

    run: RunConfig = RunConfig()
    env: EnvConfig = EnvConfig()
    model: ModelConfig
    rollout: RolloutConfig = RolloutConfig()
    warmstart: WarmStartConfig = WarmStartConfig()
    rl: RLConfig = RLConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    eval: EvalConfig = EvalConfig()
