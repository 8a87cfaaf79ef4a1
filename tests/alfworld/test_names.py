from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.alfworld.names import demangle


def test_the_first_id_gets_the_highest_number():
    ids = ["mug_bar__plus_00_dot_1", "mug_bar__minus_01_dot_2", "desk_bar_1"]
    assert demangle(ids) == {"desk_bar_1": "desk 1", "mug_bar__minus_01_dot_2": "mug 2", "mug_bar__plus_00_dot_1": "mug 1"}


def test_a_basin_is_named_after_its_parent():
    names = demangle(["sink_bar_1", "sink_bar_1_bar_sinkbasin", "bathtub_bar_2_bar_bathtubbasin"])
    assert names == {"sink_bar_1": "sink 1", "sink_bar_1_bar_sinkbasin": "sinkbasin 1", "bathtub_bar_2_bar_bathtubbasin": "bathtubbasin 1"}


def test_an_id_without_position_has_no_number():
    assert demangle(["agent1"]) == {"agent1": "agent1 "}


@given(st.sets(st.from_regex(r"(mug|cup|sink)_bar_[0-9]{1,3}(_bar_sinkbasin)?", fullmatch=True), max_size=30))
def test_names_are_unique(ids):
    assert len(set(demangle(ids).values())) == len(ids)
