"""The configuration of a training run: one TOML file, read into these models. Importing this imports no torch.

Every key is listed here with its default and its unit; an unknown key is an error that names the nearest one
(`empg_gym.trainers.config.file`). A phase with `steps = 0` is skipped.
"""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
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


Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One name or several."""
Options = Annotated[dict[str, Any], AfterValidator(_finite)]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StageConfig(Section):
    """A filter, shaper or logger: a name, or a table with a name and options."""

    name: str
    """Registered name, or `module:function`."""
    options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the function."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class RunConfig(Section):
    """Folder, device and bookkeeping of the run."""

    seed: Seed = 0
    """Seed of the initial weights, tasks, sampling and mini-batches."""
    out: Annotated[str, AfterValidator(_path)] = "runs/train"
    """The run folder: everything that the run writes is in it."""
    device: str = "auto"
    """"auto" selects CUDA if available; or "cpu", "cuda", "cuda:1", "mps"."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of forward passes and generation; master weights are float32. "auto" is bfloat16 on a CUDA device that supports it."""
    threads: PositiveInt | None = None
    """Number of torch's threads on the CPU; None uses torch's default."""
    gradient_checkpointing: bool = False
    """Recompute each layer in the backward pass: less memory, more time."""
    compile: bool = False
    """Compile the trainer's forward and backward passes with `torch.compile`: a minute at the start, then faster steps on a GPU. Results
    round differently. Needs a C++ compiler."""
    checkpoint_every: PositiveInt = 50
    """Steps of a phase between checkpoints; each phase also ends with one."""
    keep_checkpoints: PositiveInt = 2
    """Number of latest checkpoints to keep, in addition to the last one of each phase and the best one."""
    sample_every: PositiveInt = 10
    """Reinforcement steps between samples of episodes in trajectories.jsonl."""
    samples: NonNegativeInt = 4
    """Number of episodes in a sample; training samples are whole groups, so that the last one may exceed it."""
    loggers: Annotated[tuple[StageConfig, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str | dict) else value)] = ()
    """Where metrics go in addition to metrics.jsonl and TensorBoard: "wandb", "trackio" (`empg_gym.trainers.run.loggers`), or your own as
    `module:function`. Example: ["trackio", { name = "wandb", options = { project = "agents", mode = "offline" } }]."""
    keep_rollouts: bool = False
    """Keep the journal of all rollouts (rollouts/), not only of the steps since the last checkpoint."""


class EnvConfig(Section):
    """The environment, by the arguments of `gymnasium.make`, and its chat settings."""

    id: str = "EMPG/ALFWorld-v0"
    """Registered id, or `module:id` for an environment that a module of yours registers."""
    split: str = "train"
    """Split to train on."""
    data: str | None = None
    """Folder of official data; None uses the embedded world."""
    max_steps: PositiveInt | None = None
    """Maximum number of steps per episode; None uses the environment's default."""
    options: Options = Field(default_factory=dict)
    """Additional keyword arguments of the environment."""
    embedded_options: Options = Field(default_factory=dict)
    """Keyword arguments for the embedded world only (such as its size); ignored if `data` is set."""
    dialogue: str | None = None
    """Dialogue format; None uses the environment's native protocol or the default format."""
    history: NonNegativeInt | None = None
    """Steps shown in a prompt, the latest ones; None shows the whole conversation."""
    show_admissible: bool = False
    """Whether prompts list the admissible actions."""
    system_prompt: str | None = None
    """None builds it from the rules of the environment and the dialogue format; "" omits it."""

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
    """Number of decoder layers."""
    width: PositiveInt = 128
    """Features of a hidden state."""
    heads: PositiveInt = 4
    """Attention heads per layer."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values; None uses `heads`."""
    mlp: PositiveInt | None = None
    """Inner features of the gated feed-forward layer; None uses twice the width."""
    max_positions: PositiveInt = 8192
    """Maximum row length, in tokens."""
    tie_embeddings: bool = True
    """Whether input and output share one embedding."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the initial weights."""
    tokenizer_episodes: PositiveInt = 300
    """Expert episodes on whose text the tokenizer is trained. Words that are rare in them are spelled, so that a large world needs more."""
    max_words: PositiveInt = 16_000
    """Maximum number of words that are one token, the most frequent first; other words are spelled from pieces. A small number makes the
    model practise spelling, which it needs if held-out tasks contain new names."""
    pieces: PositiveInt = 256
    """Byte-pair merges from which the other words are spelled; with more of them a word has fewer pieces."""
    separate_spaces: bool = False
    """Whether the space before a spelled word is a separate piece, so that a name has the same pieces with a space before it ("is Velden")
    and without ("search[Velden]")."""
    phrases: NonNegativeInt = 0
    """Maximum number of frequent word sequences that are one token. Rows become shorter where observations follow templates. Example:
    "You are in the middle of a room." is one token instead of nine."""
    whole_names: bool = False
    """Whether a word and the number after it are one token, as in "mug 2": a name is then copied in one token."""
    markup_words: bool = False
    """Whether words are those of marked-up text: letters and digits form one word, the space after punctuation belongs to the punctuation,
    and what an action clicks on is one token. A name is then the same token wherever it is. Example: "pack of 3" in
    " [SEP] pack of 3 [SEP] ", in "size: pack of 3" and in "click[pack of 3]"."""
    compose_embeddings: bool = False
    """Whether the embedding of a token of several words starts as the sum of its words' embeddings, so that "mug 1", "mug 2" and "mug" are
    similar from the start (`empg_gym.trainers.policy.compose`). For `whole_names` and `phrases`."""
    match_scale: NonNegativeFloat = 0.0
    """If above 0, the first layer's queries and keys start with the same weights, scaled by this factor: each token attends to similar
    tokens from the start (`empg_gym.trainers.policy.matching`). 2 suits a `width` of 128; 0 draws them independently."""
    copying: bool = False
    """Whether the first two layers start with heads that continue what they have read before (`empg_gym.trainers.policy.copying`), so that
    names of several pieces are copied from the first steps on. It needs `tie_embeddings = false`."""


class LoraConfig(Section):
    """Adapters on a frozen model (`empg_gym.trainers.policy.lora`). The defaults are those of "LoRA Without Regret" (Schulman, 2025): every
    linear layer of the blocks, alpha 32; its learning rates are ten times those of full training."""

    rank: PositiveInt = 32
    """Inner dimension of an adapter."""
    alpha: PositiveFloat = 32.0
    """Scale: the update of a weight is alpha / rank * B A."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted layers, such as "q_proj"; None adapts all linear layers of the blocks."""
    save_merged: bool = True
    """Whether checkpoints also hold the merged model, which loads without the base model."""


class ModelConfig(Section):
    """The model: exactly one of the keys `name` and `from_scratch`."""

    name: str | None = None
    """Hugging Face model folder, or name on the hub."""
    from_scratch: FromScratch | None = None
    """Shape of a new model; its tokenizer is trained on the environment's text."""
    chat_template: str | None = None
    """A template that comes with this package (`empg_gym.trainers.generate.chat_template`: "qwen3-keep-thoughts"), the path of a Jinja
    file, or a template's text; None uses the model's."""
    template_args: Options = Field(default_factory=dict)
    """Variables of the chat template, such as `enable_thinking`."""
    template_date: datetime.date | None = None
    """The date that a template prints in place of today's; None is 2024-07-26."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights; None trains all weights."""
    trust_remote_code: bool = False
    """Run Python code from the model's folder, which then runs as you. Weights are read from safetensors either way."""

    @model_validator(mode="after")
    def _one(self) -> ModelConfig:
        if (self.name is None) == (self.from_scratch is None):
            raise ValueError("give exactly one of model.name and model.from_scratch")
        if self.lora is not None and self.name is None:
            raise ValueError("model.lora adapts a trained model: give model.name instead of model.from_scratch")
        return self


class RolloutConfig(Section):
    """How episodes are generated."""

    backend: str = "hf"
    """Generator backend (`empg_gym.trainers.generate.backends`): "hf", "vllm", "vllm-server", or your own as `module:function`."""
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
    """Where environments run: "inline", "processes" (one process per environment, with time limits), or your own as `module:object`."""
    step_seconds: PositiveFloat = 30.0
    """Time limit for a step of an environment in a process; after it the process is ended and the episode retried."""
    reset_seconds: PositiveFloat = 120.0
    """Time limit for creating and for resetting an environment in a process."""

    @field_validator("env_backend")
    @classmethod
    def _known(cls, name: str) -> str:
        EnvBackend(name=name)
        return name

    def environments(self) -> EnvBackend:
        """Return the environment backend."""
        return EnvBackend(name=self.env_backend, step_seconds=self.step_seconds, reset_seconds=self.reset_seconds)


class OptimizerConfig(Section):
    """The optimizer and its schedule."""

    name: str = "adamw"
    """"adamw", "adamw_8bit" or "muon" (`empg_gym.trainers.policy.optimizers`), or your own as `module:function`."""
    options: Options = Field(default_factory=dict)
    """Options of the optimizer `name`."""
    lr: PositiveFloat = 1e-6
    """Learning rate."""
    beta1: Decay = 0.9
    """Decay of the mean of gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of squared gradients."""
    weight_decay: NonNegativeFloat = 0.0
    """Share of a weight that is subtracted per update, times the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """Norm to which a larger gradient is scaled down."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises linearly."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """"cosine" and "linear" decay towards `final_lr_share` of the rate, which they would reach one step after the phase's last."""
    final_lr_share: Share = 0.1
    """Final learning rate of a decay, as a share of `lr`."""


class WarmStartConfig(Section):
    """Supervised learning on episodes of the environment's expert, or on recorded ones."""

    steps: NonNegativeInt = 0
    """Number of updates; 0 skips the phase."""
    episodes: PositiveInt = 2000
    """Number of different episodes; the largest number of recorded ones."""
    trajectories: Names = ()
    """Recorded episodes to learn from in place of the expert's: folders of evaluations or training runs, their trajectories.jsonl, or files
    that `empg-gym export` wrote (`empg_gym.trainers.collect.recordings`). Example: "runs/teacher"."""
    episodes_per_step: PositiveInt = 32
    """Episodes per update."""
    detours: Share = 0.0
    """Share of steps in which a random action replaces the expert's: one that is admissible, or was earlier in the episode. The model sees
    how the expert recovers; the detour itself is not learned. Recorded episodes have none. Example: with 0.1, about one step in ten opens a
    drawer that the task does not need, and the loss covers the expert's next action."""
    observation_weight: NonNegativeFloat = 0.0
    """Loss weight of the tokens that the model reads, relative to 1 for those it generates. Observations repeat names, so that predicting
    them teaches a model from scratch to copy. Example: with 0.1, ten tokens of an observation count as much as one of an action."""
    task_weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    """How often a type of task occurs among the episodes, relative to the others: hard ones need more. Example:
    `{ pick_two_obj_and_place = 3 }` triples the odds of one type."""
    thoughts: bool = False
    """Whether the expert's responses contain its thoughts, where the environment's expert has any (`TextEnv.expert_thought`). A model that
    learns to write them keeps track of what it is doing. Example: "<think>Find one mug.</think>open drawer 1"."""
    only_solved: bool = True
    """Exclude the expert's episodes that were not solved; those of `dagger`, which the policy plays too, are all kept."""
    dagger: Share = 0.0
    """Share of the steps, the last ones, that learn from episodes which the policy and the expert play together (DAgger, Ross et al. 2011),
    new ones for each step: the model sees what the expert would do after the model's own mistakes. The environment needs an expert that
    answers in every state."""
    dagger_policy: Share = 0.5
    """Share of the steps of such an episode that the policy takes. It learns from the expert's, and from its own that equal them."""
    token_budget: PositiveInt = 16384
    """Tokens of a forward pass, padding included for models that need it."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, warmup_steps=20, schedule="cosine")

    @property
    def dagger_steps(self) -> int:
        """Number of the last steps that learn from episodes of the policy and the expert."""
        return round(self.dagger * self.steps)


class RLConfig(Section):
    """Reinforcement learning."""

    steps: NonNegativeInt = 0
    """Number of steps: a rollout and its updates; 0 skips the phase."""
    tasks_per_step: PositiveInt = 16
    """Groups per step."""
    repeats: PositiveInt = 8
    """Episodes per group: same task, same seed of the environment."""
    reward: str = "success"
    """The outcome of a trajectory: "success" (0 or 1), "score" (0..1), "return" (sum of the environment's rewards), or your own function of
    the trajectory as `module:function`."""
    reward_scale: PositiveFloat = 1.0
    """Factor of the reward (10 in verl-agent); it has no effect if advantages are divided by their standard deviation."""
    invalid_action_penalty: NonNegativeFloat = 0.0
    """Subtracted from the advantage of each step with an invalid action, after normalisation."""
    updater: str = "minibatches"
    """How the policy learns from a scored batch (`empg_gym.trainers.policy.updaters`), or your own as `module:object`."""
    updater_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the updater."""
    minibatches: PositiveInt = 1
    """Updates per pass over a batch, which is split by trajectories."""
    epochs: PositiveInt = 1
    """Passes over a batch."""
    aggregation: str = "token-mean"
    """Weights of the tokens in the loss: "token-mean", "row-mean", "row-sum" (`empg_gym.trainers.data.aggregation`), or your own as
    `module:function`."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of the entropy bonus in the loss; its gradient is computed only if this is above 0."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the k3 estimate of the KL divergence to the policy at the beginning of reinforcement learning."""
    old_logprobs: str = "recompute"
    """The scorer, the source of old log-probabilities and entropies (`empg_gym.trainers.policy.scorers`): "recompute", a forward pass of
    the trainer; "rollout", the generator; or your own as `module:function`. "rollout" has the trainer score a batch in which the generator
    left values out, and the run reports it."""
    old_logprobs_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the scorer."""
    rollout_correction: Literal["none", "tis"] = "none"
    """Correction of the gap between the generator's log-probabilities and the trainer's: "tis", truncated importance sampling, multiplies
    the policy loss of each token by min(pi_train / pi_rollout, cap) (`empg_gym.trainers.policy.gap`); not with `old_logprobs` "rollout"."""
    rollout_correction_cap: PositiveFloat = 2.0
    """Largest weight of a token; TRL and verl use 2 as well."""
    token_budget: PositiveInt = 16384
    """Tokens of a forward pass, padding included for models that need it."""
    logit_chunk: PositiveInt | None = None
    """Positions whose logits are in memory at the same time; None chooses 8,192 on a GPU (512 MB of logits) and 512 on a CPU. It changes
    memory and time, not results."""
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _correctable(self) -> RLConfig:
        if self.rollout_correction != "none" and self.old_logprobs == "rollout":
            raise ValueError(
                f"rollout_correction = \"{self.rollout_correction}\" compares the generator's log-probabilities with the trainer's, which "
                'old_logprobs = "rollout" does not compute; set old_logprobs = "recompute"'
            )
        return self


class AlgorithmConfig(Section):
    """The stages of a training step, in order: registered names, or your own functions as `module:function`, and their options."""

    task_source: str = "uniform"
    """The tasks of a step (`empg_gym.trainers.collect.tasks`)."""
    task_source_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the task source."""
    plan: str = "groups"
    """The episodes to run on these tasks: "groups", "dynamic" or "branching" (`empg_gym.trainers.collect.plans`)."""
    plan_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the plan."""
    filters: tuple[StageConfig, ...] = ()
    """Filters of groups by their outcomes, applied before any statistic (`empg_gym.trainers.data.rewards`)."""
    shapers: tuple[StageConfig, ...] = ()
    """Terms added to the reward of a trajectory (`empg_gym.trainers.data.rewards`)."""
    state_key: Literal["state", "observation"] = "state"
    """How step-level methods identify states: by the environment's exact key, or by the observation text."""
    advantage: str = "empg"
    """The advantage of each step (`empg_gym.trainers.algorithms`)."""
    advantage_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the advantage."""
    policy_loss: str = "ppo_clip"
    """The loss of the policy update (`empg_gym.trainers.algorithms`)."""
    policy_loss_options: Options = Field(default_factory=dict)
    """Keyword-only parameters of the loss."""


class EvalConfig(Section):
    """Evaluation on a fixed sample of tasks."""

    splits: Names = ()
    """Splits to evaluate on; those that the data lacks are skipped."""
    panel: Names = ()
    """Task panels to evaluate on instead of `splits` and `tasks`, at most one per split: names such as "alfworld-unseen-134"
    (`empg_gym/rollout/panels.toml`), or "FILE.toml:NAME". The evaluations before and after are of whole panels."""
    tasks: PositiveInt = 128
    """Tasks per split, drawn without replacement (all tasks if the split has fewer)."""
    every: PositiveInt | None = None
    """Reinforcement steps between evaluations; None evaluates only before and after."""
    curve_tasks: PositiveInt | None = None
    """Tasks of the evaluations in between; None uses `tasks`."""
    temperature: NonNegativeFloat = 0.4
    """Sampling temperature; 0 is greedy."""
    seed: Seed = 0
    """Seed of tasks and sampling; use the same one in runs that you compare. A panel has its own."""

    @model_validator(mode="after")
    def _splits_or_panel(self) -> EvalConfig:
        if self.panel and self.splits:
            raise ValueError("give eval.splits or eval.panel, not both")
        return self


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
