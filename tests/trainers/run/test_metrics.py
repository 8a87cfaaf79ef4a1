"""Metrics of a resumed run: every step once, in the file and in TensorBoard."""

from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer

from empg_gym.trainers.run.metrics import METRICS, MetricsWriter, keep_until


def steps(folder, phase):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard" / phase))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars(f"{phase}/loss")]


def test_tensorboard_drops_the_steps_that_a_resumed_run_repeats(tmp_path, monkeypatch):
    # TensorBoard orders files of the same second by a number per process, compared as text: 10 would come before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    with MetricsWriter(tmp_path) as writer:
        for phase, count in (("warmstart", 5), ("rl", 4)):
            for step in range(1, count + 1):
                writer.write(phase, step, 0.0, {"loss": 1.0})
    keep_until(tmp_path / METRICS, "rl", 2)
    with MetricsWriter(tmp_path, ("rl", 2)) as writer:
        writer.write("rl", 3, 0.0, {"loss": 2.0})
    assert steps(tmp_path, "rl") == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert steps(tmp_path, "warmstart") == [(step, 1.0) for step in range(1, 6)]
    assert len((tmp_path / METRICS).read_text().splitlines()) == 8


def test_an_interrupted_cut_leaves_the_file_intact(tmp_path, monkeypatch):
    path = tmp_path / METRICS
    path.write_text('{"phase": "rl", "step": 1}\n{"phase": "rl", "step": 2}\n')
    whole = path.read_text()
    write = Path.write_bytes

    def half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        keep_until(path, "rl", 1)
    assert path.read_text() == whole and list(tmp_path.iterdir()) == [path]
