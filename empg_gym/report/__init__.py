"""Reports: a run folder as one self-contained HTML page. Works without torch.

`write_report(folder)` writes the page; `ReportServer` in `empg_gym.report.follow` serves the page of a run in progress, with live curves.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from empg_gym.errors import DataError

__all__ = ["write_report"]


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a training or evaluation run as one self-contained HTML file.

    Args:
        folder: a run folder, or a JSON-lines file of trajectories.
        out: the file to write; None writes `report.html` into the folder, or `<name>.html` next to a file.

    Returns:
        the written file. It is written whole or not at all.

    Raises:
        DataError: the folder is not a run, a file in it is damaged, or `out` can't be written.
    """
    from empg_gym.report.page import page
    from empg_gym.report.run_reader import RunReader

    folder = Path(folder)
    run = RunReader(folder)
    run.refresh()
    target = Path(out) if out is not None else folder / "report.html" if folder.is_dir() else folder.with_suffix(".html")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(page(run))
        unfinished.replace(target)
    except OSError as error:
        raise DataError(f"the report can't be written to {target}: {error.strerror}; name another file with --out") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return target
