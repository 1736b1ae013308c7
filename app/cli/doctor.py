"""`doctor`: every promise of this installation, and whether it is kept just now."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table
from rich.text import Text

from app import log
from app.cli.terminal import console, progress_display
from app.operations.doctor.examination import examine
from app.operations.doctor.findings import Finding, FindingVerdict, failed, worst
from app.scripts import foreseen_errors
from app.settings import Settings, SettingsError, load

_STYLES = {
    FindingVerdict.PASS: "green",
    FindingVerdict.WARN: "yellow",
    FindingVerdict.FAIL: "red",
    FindingVerdict.ABSENT: "dim",
}


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    verdict: FindingVerdict
    findings: Sequence[Finding]


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False
) -> None:
    """Look at every promise now; exit 1 when one is broken. Changes nothing."""
    with foreseen_errors():
        try:
            settings = load()
        except SettingsError as error:
            if not as_json:
                raise
            findings = [
                msgspec.structs.replace(failed(name, rule), group="settings")
                for name, rule in error.problems
            ]
        else:
            findings = _examined(settings)
    verdict = worst(findings)
    if as_json:
        report = _Report(verdict=verdict, findings=findings)
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        console.print(_table(findings))
        console.print(_summary(findings), style=_STYLES[verdict])
    raise typer.Exit(1 if verdict is FindingVerdict.FAIL else 0)


def _examined(settings: Settings) -> list[Finding]:
    # What goes wrong is in the findings; here it would be told twice.
    log.configure(max(settings.log.level, logging.ERROR), settings.log.format)
    with progress_display() as progress:
        task = progress.add_task("looking", total=None)
        return asyncio.run(
            examine(
                settings, lambda done, total: progress.update(task, completed=done, total=total)
            )
        )


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(
        Column("promise", no_wrap=True), "verdict", Column("what was seen", overflow="fold")
    )
    for group, members in groupby(findings, key=lambda finding: finding.group):
        table.add_section()
        table.add_row(Text(group, style="bold"), "", "")
        for finding in members:
            verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
            table.add_row(f"  {finding.name}", verdict, Text(finding.text))
    return table


def _summary(findings: Sequence[Finding]) -> str:
    counts = [
        f"{sum(finding.verdict is verdict for finding in findings)} {verdict}"
        for verdict in FindingVerdict
    ]
    return ", ".join(counts)
