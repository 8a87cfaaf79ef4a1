"""What a run shows while it runs: a live view on a terminal, plain lines everywhere else (a log file, a pipe), notes that stay in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.live import Live


class LiveView:
    """The display of one run.

    Args:
        console: the output.
        render: builds the view of a terminal.
        lines: builds the lines that are written instead where there is no terminal.
        refresh_per_second: redraws of the view.
        transient: remove the view from the terminal at the end.
    """

    def __init__(
        self,
        console: Console,
        render: Callable[[], RenderableType],
        lines: Callable[[], Iterable[str]],
        *,
        refresh_per_second: float,
        transient: bool,
    ) -> None:
        self.console = console
        self._render, self._lines = render, lines
        self._refresh, self._transient = refresh_per_second, transient
        self._noted: set[str] = set()
        self._live: Live | None = None

    @property
    def is_live(self) -> bool:
        """Whether the console is a terminal."""
        return self.console.is_terminal

    def start(self) -> None:
        """Begin to show the view."""
        if self.is_live:
            self._live = Live(
                get_renderable=self._render, console=self.console, refresh_per_second=self._refresh, transient=self._transient
            )
            self._live.start()

    def stop(self) -> None:
        """Stop showing the view."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def write_lines(self) -> None:
        """Write the current lines where there is no terminal; callers bound the rate."""
        if not self.is_live:
            for line in self._lines():
                self.note(line)

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def note_once(self, text: str) -> None:
        """Show a line that stays, the first time only."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)
