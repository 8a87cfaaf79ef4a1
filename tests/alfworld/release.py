"""A folder in the layout of the released data, with generated households."""

import json
from pathlib import Path

from empg_gym.envs.alfworld.logic import game_file
from empg_gym.envs.alfworld.problem import write_problem
from empg_gym.envs.alfworld.texts import WORDINGS
from empg_gym.envs.alfworld.world.household import generate


def make_release(root: Path, *, split: str = "valid_seen", count: int = 6, notes: bool = True) -> Path:
    """Write `count` games, one of each type in turn, and return the release folder."""
    release = root / "json_2.1.1"
    for index in range(count):
        household = generate("train", "small", index)
        folder = release / split / household.folder / f"trial_{index}"
        folder.mkdir(parents=True)
        text = game_file(write_problem(household.problem), household.goal, WORDINGS["old"])
        (folder / "game.tw-pddl").write_text(text)
        if notes:
            sentences = [f'Please do "{household.goal}".', f"Number {index}, in other words."]
            (folder / "traj_data.json").write_text(json.dumps({"turk_annotations": {"anns": [{"task_desc": s} for s in sentences]}}))
    return release
