"""Numbers of learning curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.scoring.curves import area_under_curve


@given(st.dictionaries(st.integers(0, 500), st.floats(-10, 10), min_size=2, max_size=30))
def test_the_area_is_the_trapezoidal_rule_over_the_width(points):
    steps = sorted(points)
    expected = np.trapezoid([points[step] for step in steps], steps) / (steps[-1] - steps[0])
    assert area_under_curve([(step, points[step]) for step in steps]) == pytest.approx(expected, abs=1e-9)


def test_a_single_point_has_its_own_height():
    assert area_under_curve([(7, 0.25)]) == 0.25
