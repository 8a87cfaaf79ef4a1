"""Reports: run folders as self-contained HTML pages. Works without torch.

`write_report(folder)` writes the page of a run, `write_comparison(folders)` that of several, `write_index(folder)` the list of all runs
below a folder; `ReportServer` in `empg_gym.report.follow` serves the page of a run in progress, with live curves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from empg_gym.errors import DataError

if TYPE_CHECKING:
    from empg_gym.report.tables import Table

__all__ = ["write_comparison", "write_index", "write_report"]


def write_report(folder: Path, out: Path | None = None, *, redact: bool = False) -> Path:
    """Write the report of a training or evaluation run as one self-contained HTML file.

    Args:
        folder: a run folder, or a JSON-lines file of trajectories.
        out: the file to write; None writes `report.html` into the folder, or `<name>.html` next to a file.
        redact: hide what identifies a person or a machine (`empg_gym.report.publish`).

    Returns:
        the written file. It is written whole or not at all.

    Raises:
        DataError: the folder is not a run, a file in it is damaged, or `out` can't be written.
    """
    from empg_gym.report.overview import RunReport
    from empg_gym.report.page import page
    from empg_gym.report.run_reader import RunReader

    folder = Path(folder)
    run = RunReader(folder, redact=redact)
    run.refresh()
    target = Path(out) if out is not None else folder / "report.html" if folder.is_dir() else folder.with_suffix(".html")
    return _write(target, page(RunReport(run)))


def write_comparison(
    folders: Sequence[Path], out: Path, *, table: Table | None = None, warnings: Sequence[str] = (), redact: bool = False
) -> Path:
    """Write several runs of one kind as one self-contained HTML file: training runs overlaid, evaluations side by side.

    Args:
        folders: the runs, at least two; the others are compared with the first.
        out: the file to write.
        table: of evaluations, their values and paired differences.
        warnings: of evaluations, conditions that make numbers incomparable.
        redact: hide what identifies a person or a machine.

    Returns:
        the written file. It is written whole or not at all.

    Raises:
        ConfigError: the runs are of both kinds, a folder is named twice, or two training runs have one configuration and seed.
        DataError: a folder is not a run, a file in it is damaged, or `out` can't be written.
    """
    from empg_gym.report.page import page
    from empg_gym.report.several import SeveralRuns

    return _write(Path(out), page(SeveralRuns([Path(folder) for folder in folders], table=table, warnings=warnings, redact=redact)))


def write_index(folder: Path, out: Path | None = None, *, redact: bool = False) -> Path:
    """Write the list of all runs below a folder as one HTML file, and the reports that it links to where they are missing or outdated.

    Args:
        folder: a folder with run folders, at any depth.
        out: the file to write; None writes `index.html` into the folder.
        redact: hide what identifies a person or a machine, and write every report again so.

    Returns:
        the written file. A run that can't be read is listed with the reason and without a report.

    Raises:
        DataError: the folder has no runs, or `out` can't be written.
    """
    from empg_gym.report.index_page import entries, find_runs, index_page, written

    folder = Path(folder)
    target = folder / "index.html" if out is None else Path(out)
    runs = find_runs(folder)
    if not runs:
        raise DataError(f"no run below {folder}: expected folders that `empg-gym train` or `empg-gym eval` wrote")
    links: dict[Path, str] = {}
    for run in runs:
        report, links[run] = run / "report.html", ""
        with contextlib.suppress(DataError):
            if redact or not report.is_file() or report.stat().st_mtime < written(run):
                write_report(run, redact=redact)
            links[run] = quote(Path(os.path.relpath(report.resolve(), target.resolve().parent)).as_posix())
    return _write(target, index_page(folder, entries(folder, links), redact=redact))


def _write(target: Path, pieces: Iterable[str]) -> Path:
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(pieces)
        unfinished.replace(target)
    except OSError as error:
        raise DataError(f"the report can't be written to {target}: {error.strerror}; name another file with --out") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return target
