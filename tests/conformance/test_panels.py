"""Task panels of released data: the committed fingerprints are those of the reference data, whichever files it comes from."""

from __future__ import annotations

import subprocess
import sys

import pytest

from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import DataError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.panels import choose_panel_tasks, find_panel
from tests.reference import reference_data


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of the valid_seen games, written from the reference data in the official layout."""
    folder = tmp_path_factory.mktemp("games")
    script = reference_data("alfworld") / "export.py"
    subprocess.run([sys.executable, str(script), str(folder), "--split", "valid_seen"], check=True, capture_output=True)
    return folder


def tasks_of(name, data):
    panel = find_panel(name)
    return choose_panel_tasks(panel, panel.recipe({"data": str(data)}, ChatSettings()))


def test_the_panel_of_alfworlds_seen_games(exported):
    found = tasks_of("alfworld-seen-140", exported)
    assert found.fingerprint == find_panel("alfworld-seen-140").fingerprint and len(found.tasks) == 140


def test_a_released_file_and_the_exported_one_are_one_task(exported):
    """Their bytes differ, so the fingerprints of the data do; the content of the tasks does not."""
    raw = reference_data("alfworld") / "raw_samples"
    keys = []
    for data in (raw, exported):
        env = EnvRecipe("EMPG/ALFWorld-v0", {"split": "valid_seen", "data": str(data)}).make().text_env
        ids = keys[0].keys() if keys else [env.task_id(index) for index in range(env.num_tasks)]
        keys.append({})
        for task in ids:
            env.reset(seed=0, options={"task": task})
            keys[-1][task] = env.task_key()
    assert keys[0] == keys[1] and len(keys[0]) > 0


def test_the_panel_of_webshops_small_catalogue():
    found = tasks_of("webshop-test-500", reference_data("webshop") / "small")
    assert found.fingerprint == find_panel("webshop-test-500").fingerprint and len(found.tasks) == 500


def test_other_data_is_refused(exported):
    with pytest.raises(DataError, match="alfworld-unseen-134 is drawn from 134 tasks"):
        panel = find_panel("alfworld-unseen-134").model_copy(update={"split": "valid_seen"})
        choose_panel_tasks(panel, panel.recipe({"data": str(exported)}, ChatSettings()))
