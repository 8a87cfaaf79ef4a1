"""Pages for tests in a browser, each written once."""

from __future__ import annotations

from pathlib import Path

from empg_gym.evaluation import evaluate
from empg_gym.report import write_comparison, write_index, write_report
from empg_gym.trajectory import Completion
from tests.report.samples import WORDS, evaluation_run, hostile_run, training_run
from tests.report.several import training_family
from tests.toy import TOY_ID


def training_page(folder: Path) -> Path:
    """Return the page of a training run, with a tokenizer where the package is installed."""
    run = training_run(folder / "training")
    try:
        import tokenizers

        (run / "checkpoints" / "last").mkdir(parents=True)
        model = tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[0])
        tokenizers.Tokenizer(model).save(str(run / "checkpoints" / "last" / "tokenizer.json"))
    except ImportError:
        pass
    return write_report(run)


def failing_page(folder: Path) -> Path:
    """Return the page of an evaluation whose agent fails."""

    def broken(messages):
        raise ValueError(f"message {len(messages)} broke")

    evaluate(TOY_ID, broken, episodes=3, out=folder / "failing")
    return write_report(folder / "failing")


def priced_page(folder: Path) -> Path:
    """Return the page of an evaluation with repeats, token counts and prices."""

    def answer(messages):
        return Completion(text="<think></think><action>open door 9</action>", prompt_tokens=900, completion_tokens=100)

    evaluate(TOY_ID, answer, episodes=3, repeats=2, out=folder / "priced", prices=(1.0, 2.0), env_kwargs={"max_steps": 5})
    return write_report(folder / "priced")


def windowed_page(folder: Path) -> Path:
    """Return the page of an evaluation whose prompts show one earlier step."""
    evaluate(TOY_ID, lambda messages: "<think></think><action>open door 9</action>", episodes=1, out=folder / "windowed", history=1)
    return write_report(folder / "windowed")


def overlaid_page(folder: Path) -> Path:
    """Return the page of five training runs of two methods."""
    return write_comparison(training_family(folder / "family", {"grpo": (0, 1, 2), "empg": (0, 1)}), folder / "overlaid.html")


def paired_page(folder: Path) -> Path:
    """Return the page of two evaluations of the same tasks."""
    runs = [evaluation_run(folder / "pair" / name, 120, seed=seed) for name, seed in (("first", 2), ("second", 5))]
    return write_comparison(runs, folder / "paired.html")


def list_page(folder: Path) -> Path:
    """Return the list of three runs."""
    training_run(folder / "runs" / "training", 2)
    for name in ("one", "two"):
        evaluation_run(folder / "runs" / name, 2)
    return write_index(folder / "runs")


def write_pages(folder: Path) -> dict[str, Path]:
    """Write all pages."""
    return {
        "training": training_page(folder),
        "evaluation": write_report(evaluation_run(folder / "evaluation")),
        "hostile": write_report(hostile_run(folder / "hostile")),
        "failing": failing_page(folder),
        "priced": priced_page(folder),
        "windowed": windowed_page(folder),
        "overlaid": overlaid_page(folder),
        "paired": paired_page(folder),
        "list": list_page(folder),
    }
