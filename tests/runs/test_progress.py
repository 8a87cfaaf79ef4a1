"""The view of a run: live on a terminal, lines elsewhere, notes in both."""

import io

from rich.console import Console

from empg_gym.runs.progress import LiveView


def shown(*, terminal):
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    view = LiveView(console, lambda: "the table", lambda: ["a line [b]"], refresh_per_second=2, transient=True)
    view.start()
    view.write_lines()
    for _ in range(2):
        view.note_once("a note [1/2]")
    view.stop()
    return console.file.getvalue()


def test_lines_where_there_is_no_terminal():
    assert shown(terminal=False) == "a line [b]\na note [1/2]\n"


def test_a_table_and_notes_on_a_terminal():
    text = shown(terminal=True)
    assert "the table" in text and text.count("a note [1/2]") == 1 and "a line" not in text and "\x1b" in text
