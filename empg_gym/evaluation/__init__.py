"""Evaluation: episodes of any agent, their numbers with intervals, and comparisons of runs."""

from empg_gym.evaluation.api import evaluate
from empg_gym.evaluation.comparison import Comparison, compare
from empg_gym.evaluation.config import EvalConfig
from empg_gym.evaluation.environments import find_recipe
from empg_gym.evaluation.rescoring import rescore
from empg_gym.evaluation.run import Watcher
from empg_gym.evaluation.summary import Summary
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord

__all__ = [
    "Comparison",
    "EpisodeRecord",
    "EvalConfig",
    "Prices",
    "Summary",
    "Watcher",
    "compare",
    "evaluate",
    "find_recipe",
    "rescore",
]
