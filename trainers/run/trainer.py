"""The training run: warm start, evaluation, reinforcement, evaluation; resumable after a kill at any moment.

Order of a run:
    1. warm start: `warmstart.steps` supervised steps on expert episodes;
    2. evaluation "before", checkpoint `rl-000000`;
    3. reinforcement: `rl.steps` times an iteration (collect, batch, score, advantage, update), then publish the weights to the
       generators; evaluation every `eval.every` steps;
    4. evaluation "after" with the last step, last checkpoint, `summary.json`. An interrupted run writes a summary
       too, with "complete": false.

A resumed run does what the uninterrupted run would have done, bit for bit on the CPU (on a GPU sums have no fixed order): everything
random is a function of (seed, step), and files are cut back to the checkpoint's step (`empg_gym.trainers.run.folder`). Episodes that were
finished before the kill come from the journal (`empg_gym.trainers.collect.journal`); those of the interrupted step that were not are
generated in a smaller batch, which may round differently.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from empg_gym.runs.folder import SUMMARY, TRAJECTORIES
from empg_gym.runs.json_file import write_json
from empg_gym.runs.redaction import Redactor
from empg_gym.trainers.collect.dagger import DaggerEpisodes
from empg_gym.trainers.collect.demonstrations import demonstrations
from empg_gym.trainers.collect.environments import check_task_weights
from empg_gym.trainers.collect.journal import Journal
from empg_gym.trainers.collect.recordings import encoded, read_recordings
from empg_gym.trainers.config.file import redacted_config
from empg_gym.trainers.config.sections import OptimizerConfig, TrainConfig
from empg_gym.trainers.policy.gold import build_gold_scorer
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.reference import Reference
from empg_gym.trainers.policy.scorers import UNSCORED
from empg_gym.trainers.policy.updaters import NONFINITE
from empg_gym.trainers.run.best import candidate, is_better, point_to_best
from empg_gym.trainers.run.bundle import ModelBundle
from empg_gym.trainers.run.card import model_card
from empg_gym.trainers.run.checkpoint import TrainerState, load_state, prune, save_checkpoint, weights_hash
from empg_gym.trainers.run.collecting import build_collector
from empg_gym.trainers.run.evaluation import EvaluationResult, Evaluator, append_outcomes
from empg_gym.trainers.run.folder import CHECKPOINTS, find_checkpoint, lock_run_folder, reset_run_files
from empg_gym.trainers.run.iteration import NONFINITE_BATCHES, Iteration, num_updates
from empg_gym.trainers.run.loggers import LoggerRun, bind_loggers
from empg_gym.trainers.run.memory import libraries_uncollected, memory_errors
from empg_gym.trainers.run.metrics import MetricsWriter
from empg_gym.trainers.run.progress import ProgressView, before_and_after
from empg_gym.trainers.run.samples import Kind, sample
from empg_gym.trainers.run.stages import build_stages
from empg_gym.trainers.run.step_metrics import ROWS_PER_EPISODE
from empg_gym.trainers.run.warmstart import WarmStart
from empg_gym.trajectory import Trajectory, write_trajectories

MANY_ROWS = 1.2
"""Mean number of rows of an episode above which a run warns, unless prompts show a window of the history."""


class Trainer:
    """One training run in one folder.

    Args:
        config: the configuration.
        view: shows the run's progress.
        resume: continue from the folder's latest checkpoint, or from the beginning where there is none.

    Raises:
        OutputExistsError: the folder is in use: by a running run, by an earlier one and `resume` is not set, or by something else.
        ConfigError: the configuration can't be used, or differs from that of the run to resume.
        DataError: the run to resume is damaged, or data is missing.
    """

    def __init__(self, config: TrainConfig, view: ProgressView, *, resume: bool = False) -> None:
        self.config = config
        self.view = view
        self.folder = Path(config.run.out)
        checkpoint = find_checkpoint(config, resume=resume)
        check_task_weights(config)
        self.state = TrainerState(phase="warmstart", step=0, seconds=0.0) if checkpoint is None else load_state(checkpoint)
        self.models = ModelBundle(config, checkpoint)
        self.evaluator = Evaluator(config, self.models.eval_generator)
        for split, reason in self.evaluator.missing.items():
            view.message(f"Evaluations leave out the split {split}: {reason}")
        self.journal = Journal(self.folder, keep=config.run.keep_rollouts)
        self.stages = build_stages(config)
        loggers = bind_loggers(config)
        self.collector = build_collector(config, self.stages, self.models.train_generator, self.journal)
        self.gold = build_gold_scorer(config, self.models.policy, self.models.tokenizer)
        # The updater is checked before anything is written.
        self._iteration(Optimizer(self.models.policy, config.rl.optimizer, 1))
        self.warnings: dict[str, str] = {}
        """By the metric that caused each."""
        self._began = time.monotonic() - self.state.seconds
        self._cpu_began = time.process_time() - self.state.cpu_seconds
        self._lock = lock_run_folder(config, checkpoint)
        reset_run_files(config, None if checkpoint is None else self.state)
        point_to_best(self.folder / CHECKPOINTS, self.state.best)
        self._is_best = False
        """Whether the latest evaluation is the best so far, and its checkpoint not yet saved."""
        self._entropies: dict[str, float] = {}
        run = LoggerRun(folder=self.folder, config=redacted_config(config), resumed=checkpoint is not None)
        self._metrics = MetricsWriter(
            self.folder,
            None if checkpoint is None else (self.state.phase, self.state.step),
            loggers={logger.name: logger(run) for logger in loggers},
            on_failure=view.once,
        )

    def run(self) -> dict[str, Any]:
        """Train to the end and return the summary.

        Raises:
            TrainingError: training has collapsed (all episodes of a batch failed, or gradients stay not finite), or memory is full.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(memory_errors())
            held.callback(self._lock.close)
            held.enter_context(libraries_uncollected())
            for part in (self.models, self.evaluator, self.collector, self.gold):
                if part is not None:
                    held.callback(part.close)
            held.enter_context(self._metrics)
            held.enter_context(self.view)
            try:
                if self.state.phase == "warmstart":
                    self._warm_start()
                    self.state.phase = "rl"
                    self.models.publish(0)
                    self.state.evaluations["before"] = self._evaluate("Before reinforcement", 0)
                    self._begin_reinforcement()
                if self.config.rl.steps:
                    self._reinforce()
            except KeyboardInterrupt:
                self._write_summary(complete=False)
                raise
            return self._finish()

    # Phases

    def _warm_start(self) -> None:
        config, models = self.config.warmstart, self.models
        if not config.steps:
            return
        self.view.phase("warmstart", config.steps, self.state.step)
        with contextlib.closing(self.config.env.recipe().make()) as env:
            if config.trajectories:
                recorded = encoded(read_recordings(self.config, env), env, models.tokenizer, self.config)
                self.view.message(f"Warm start on {recorded.summary}")
                episodes = recorded.episodes
            else:
                episodes = list(demonstrations(env, models.tokenizer, config, self.config.run.seed))
        optimizer = self._optimizer(config.optimizer, config.steps)
        with contextlib.ExitStack() as held:
            dagger = None
            if config.dagger_steps:
                dagger = DaggerEpisodes(self.config, models.train_generator, publish=lambda: models.publish(0))
                held.callback(dagger.close)
            learner = WarmStart(optimizer, config, episodes, self.config.run.seed, dagger)
            self._steps(config.steps, optimizer, learner.step, can_resume=lambda: learner.can_resume)

    def _reinforce(self) -> None:
        rl, models = self.config.rl, self.models
        self.view.phase("rl", rl.steps, self.state.step)
        optimizer = self._optimizer(rl.optimizer, num_updates(self.config))
        reference = models.reference(self.folder / CHECKPOINTS / "rl-000000") if rl.kl_coef else None
        iteration = self._iteration(optimizer, reference)
        models.publish(self.state.step)

        def step(index: int) -> dict[str, float]:
            began = time.perf_counter()
            collection, metrics = iteration.run(index, self.collector)
            models.publish(index + 1)
            seconds = time.perf_counter() - began
            metrics |= {"speed/step_s": seconds, "speed/tokens_per_s": metrics["rollout/tokens"] / seconds}
            self._report_problems(metrics)
            if index % self.config.run.sample_every == 0:
                self._sample(collection.trajectories, index + 1, "training")
            return metrics | _flat(self._evaluate_after(index + 1))

        self._steps(rl.steps, optimizer, step)

    def _iteration(self, optimizer: Optimizer, reference: Reference | None = None) -> Iteration:
        return Iteration(self.config, self.stages, optimizer, reference=reference, dump=self.folder / NONFINITE_BATCHES, gold=self.gold)

    def _steps(
        self, total: int, optimizer: Optimizer, step: Callable[[int], dict[str, float]], can_resume: Callable[[], bool] = lambda: True
    ) -> None:
        """Run the rest of a phase; a checkpoint that is due is written after the next step from which the run can resume."""
        is_due = False
        for index in range(self.state.step, total):
            metrics = step(index)
            self.state.step = index + 1
            self._update_clocks()
            self._metrics.write(self.state.phase, self.state.step, self.state.seconds, metrics)
            self.view.step(self.state.step, metrics)
            self._entropies = {name: value for name, value in metrics.items() if name.startswith("entropy/")} or self._entropies
            is_due = is_due or self.state.step % self.config.run.checkpoint_every == 0 or self.state.step == total or self._is_best
            if is_due and can_resume():
                is_due = False
                self.state.optimizer = optimizer.state_dict()
                self._save()

    def _begin_reinforcement(self) -> None:
        self.state.step, self.state.optimizer = 0, None
        self.state.start_weights = weights_hash(self.models.model)
        self._metrics.write("rl", 0, time.monotonic() - self._began, _flat(self.state.evaluations["before"]))
        self._save()

    def _optimizer(self, config: OptimizerConfig, updates: int) -> Optimizer:
        optimizer = Optimizer(self.models.policy, config, updates)
        if self.state.optimizer is not None:
            optimizer.load_state_dict(self.state.optimizer)
        return optimizer

    def _report_problems(self, metrics: dict[str, float]) -> None:
        if metrics.get(UNSCORED):
            self._warn(UNSCORED, 'rl.old_logprobs is "rollout", but the generator left values out: the trainer scores such batches itself')
        if metrics[ROWS_PER_EPISODE] > MANY_ROWS and self.config.env.history is None:
            self._warn(
                ROWS_PER_EPISODE,
                f"Episodes have {metrics[ROWS_PER_EPISODE]:.1f} rows on average: the chat template or the dialogue rewrites earlier "
                "messages, and each row repeats the conversation. For one row per episode, choose a template that keeps them, such as "
                'model.chat_template = "qwen3-keep-thoughts"',
            )
        if metrics.get(NONFINITE):
            self._warn(
                NONFINITE,
                f"A loss or gradient was not finite, and its update was discarded; the batch is in {self.folder / NONFINITE_BATCHES}: "
                "empg-gym train CONFIG --replay FILE runs its update again",
            )

    def _warn(self, metric: str, text: str) -> None:
        """Show a warning and keep it for the summary, the first time that its metric asks for it."""
        self.view.once(self.warnings.setdefault(metric, text))

    # Evaluation and records

    def _evaluate_after(self, step: int) -> list[dict[str, Any]]:
        """Evaluate after the last reinforcement step, and after those that the learning curve shows."""
        every = self.config.eval.every
        if step == self.config.rl.steps:
            self.state.evaluations["after"] = self._evaluate("After reinforcement", step)
            return self.state.evaluations["after"]
        return self._evaluate(f"Step {step}", step, self.config.eval.curve_tasks) if every and step % every == 0 else []

    def _evaluate(self, title: str, step: int, tasks: int | None = None) -> list[dict[str, Any]]:
        if not self.evaluator.splits:
            return []
        results, episodes = self.evaluator.run(tasks)
        for split in self.evaluator.splits:
            played = [item for item in episodes if item.split == split]
            append_outcomes(self.folder, played, split, self.state.phase, step)
            self._sample(played, step, "evaluation")
        self.view.evaluation(title, results)
        found = candidate(results, f"rl-{step:06d}", step)
        if found is not None and is_better(found, self.state.best):
            self.state.best, self._is_best = found, True
        self.state.latest = {"step": step, "results": [result.to_json() for result in results]}
        return [result.to_json() for result in results]

    def _sample(self, trajectories: Sequence[Trajectory], step: int, kind: Kind) -> None:
        """Write some episodes for the report."""
        shown = sample(trajectories, self.config.run.samples, kind=kind, phase=self.state.phase, step=step)
        write_trajectories(self.folder / TRAJECTORIES, shown, edit=Redactor().line)

    def _write_summary(self, *, complete: bool) -> dict[str, Any]:
        summary = {
            "complete": complete,
            "phase": self.state.phase,
            "step": self.state.step,
            "environment": self.config.env.id,
            "seed": self.config.run.seed,
            "parameters": sum(item.numel() for item in self.models.model.parameters()),
            "device": self.models.device.type,
            "start_weights": self.state.start_weights,
            "seconds": round(time.monotonic() - self._began, 1),
            "cpu_seconds": round(time.process_time() - self._cpu_began, 1),
            "algorithm": self.config.algorithm.model_dump(mode="json"),
            **({"splits_left_out": list(self.evaluator.missing)} if self.evaluator.missing else {}),
            **({"warnings": list(self.warnings.values())} if self.warnings else {}),
            **({"best": self.state.best} if self.state.best else {}),
            **self.state.evaluations,
        }
        write_json(self.folder / SUMMARY, summary)
        return summary

    def _finish(self) -> dict[str, Any]:
        summary, evaluations = self._write_summary(complete=True), self.state.evaluations
        if evaluations.get("before") and evaluations.get("after"):
            pairs = ([EvaluationResult.from_json(item) for item in evaluations[name]] for name in ("before", "after"))
            self.view.table(before_and_after(*pairs))
        return summary

    def _update_clocks(self) -> None:
        self.state.seconds = time.monotonic() - self._began
        self.state.cpu_seconds = time.process_time() - self._cpu_began

    def _save(self) -> None:
        self._update_clocks()
        folder = self.folder / CHECKPOINTS
        lora = self.config.model.lora
        merged = lora is None or lora.save_merged
        card = model_card(self.config, self.state, self._entropies)
        save_checkpoint(folder, self.state, self.models.model, self.models.tokenizer, merged=merged, card=card)
        self._is_best = False
        point_to_best(folder, self.state.best)
        pinned = {"rl-000000", f"warmstart-{self.config.warmstart.steps:06d}"}
        if self.state.best is not None:
            pinned.add(self.state.best["checkpoint"])
        prune(folder, self.config.run.keep_checkpoints, pinned)
        if self.state.phase == "rl":
            self.journal.drop_until(self.state.step)


def _flat(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {name: value for item in results for name, value in EvaluationResult.from_json(item).metrics().items()}
