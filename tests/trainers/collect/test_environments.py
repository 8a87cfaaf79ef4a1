"""Checks of a configuration against its environments."""

import pytest

from empg_gym.errors import ConfigError
from empg_gym.trainers.collect.environments import check_task_weights
from empg_gym.trainers.config.file import parse_config
from tests.trainers.corridor import corridor_config


def alfworld(**sections):
    tree = {"env": {"id": "EMPG/ALFWorld-v0", "embedded_options": {"size": "small"}}, "model": {"name": "unused"}}
    return parse_config({**tree, **sections})


def weighted(name: str) -> dict[str, object]:
    return {"task_source": "weighted", "task_source_options": {"weights": {name: 2.0}}}


def test_weights_of_types_that_the_split_has_are_accepted():
    check_task_weights(alfworld(warmstart={"task_weights": {"pick_two_obj_and_place": 3}}, algorithm=weighted("look_at_obj_in_light")))
    check_task_weights(alfworld())


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"warmstart": {"task_weights": {"pick_tow": 3}}}, "warmstart.task_weights"),
        ({"algorithm": weighted("pick_tow")}, "algorithm.task_source_options.weights"),
    ],
)
def test_a_type_that_the_split_lacks_is_named(sections, key):
    with pytest.raises(ConfigError, match=rf"{key} names the task type 'pick_tow', .*pick_two_obj_and_place"):
        check_task_weights(alfworld(**sections))


def test_tasks_without_types_have_no_weights():
    with pytest.raises(ConfigError, match="its tasks have no types"):
        check_task_weights(corridor_config("unused", warmstart={"task_weights": {"red": 2.0}}))
