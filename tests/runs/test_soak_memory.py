"""The numbers of the soak's memory: the slope with its interval, and the count of a growing file's lines."""

from __future__ import annotations

import pytest

from benchmarks.soak_memory import LineCount, _t, growth, open_files


def test_a_line_has_its_slope_and_no_interval():
    samples = [[episodes, 50 + 0.7 * episodes / 1000] for episodes in range(100, 4001, 100)]
    samples[0][1] = 1.0  # before the warm-up
    assert growth(samples, 1) == {"slope": 0.7, "low": 0.7, "high": 0.7, "samples": 31}


def test_the_interval_is_that_of_least_squares():
    """By hand, for ten points around a line."""
    samples = [[1000 * x, x + (-1) ** x * (3**0.5)] for x in range(1, 11)]
    warm = [one for one in samples if one[0] >= 2500]
    with pytest.raises(ValueError, match="at least ten samples"):
        growth(warm[:9], 1)
    found = growth([[30_000 + 1000 * x, y] for (_, y), x in zip(samples, range(1, 11), strict=True)], 1)
    slope = sum((x - 5.5) * y for x, (_, y) in zip(range(1, 11), samples, strict=True)) / 82.5
    rest = sum((y - sum(v for _, v in samples) / 10 - slope * (x - 5.5)) ** 2 for x, (_, y) in zip(range(1, 11), samples, strict=True))
    half = 2.306004 * (rest / 8 / 82.5) ** 0.5
    assert (found["slope"], found["low"], found["high"]) == pytest.approx((slope, slope - half, slope + half), abs=0.011)


@pytest.mark.parametrize(("freedom", "point"), [(8, 2.3060), (10, 2.2281), (29, 2.0452), (1000, 1.9623)])
def test_the_points_of_students_distribution(freedom, point):
    assert _t(freedom) == pytest.approx(point, abs=0.002)


def test_lines_are_counted_as_they_are_written_and_again_after_a_replacement(tmp_path):
    path = tmp_path / "lines"
    count = LineCount(path)
    assert count.read() == 0
    with path.open("a") as file:
        file.write("a\nb\nhalf")
        file.flush()
        assert count.read() == 2
        file.write(" and half\n")
        file.flush()
        assert count.read() == 3
    path.write_text("a\n")
    assert count.read() == 1


def test_sockets_are_counted_apart(tmp_path):
    import socket

    files, sockets = open_files()
    with socket.socket(), (tmp_path / "a").open("w"):
        assert open_files() == (files + 1, sockets + 1)
