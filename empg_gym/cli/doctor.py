"""`empg-gym doctor`: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.doctor import Finding

_SIGNS = {"ok": ("✓", "green"), "missing": ("–", "yellow"), "broken": ("✗", "bold red")}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check Python, packages, GPU, data, browser and ports; a line that fails names its fix.

    Exit code 1 if a required part is broken.
    """
    from empg_gym.doctor import examine

    findings: list[Finding] = []
    console = Console(highlight=False, soft_wrap=True)
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding, console)
    failed = [finding for finding in findings if finding.required and finding.status == "broken"]
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "findings": [dataclasses.asdict(finding) for finding in findings]}, indent=2))
    else:
        broken = sum(finding.status == "broken" for finding in findings)
        missing = sum(finding.status == "missing" for finding in findings)
        console.print(f"\n{len(findings) - broken - missing} fine, {missing} missing but optional, {broken} broken", style="bold")
    if failed:
        raise typer.Exit(1)


def _show(finding: Finding, console: Console) -> None:
    sign, style = _SIGNS[finding.status]
    line = (
        Text(f"{sign} ", style=style)
        .append(f"{finding.group + ': ' + finding.name:22}", style="default")
        .append(f" {finding.detail}", style="default")
    )
    console.print(line)
    if finding.fix:
        console.print(Text(f"    fix: {finding.fix}", style="cyan"))
