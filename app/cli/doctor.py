"""`doctor`: check every promise of this installation now."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby

import msgspec
import typer
from rich.text import Text

from app import log
from app.cli.options import AsJson
from app.cli.terminal import console, print_json, progress_display, show_table
from app.operations.doctor.examination import examine
from app.operations.doctor.findings import Finding, FindingVerdict, failed, worst
from app.settings import Settings, SettingsError, load

_STYLES = {
    FindingVerdict.PASS: "green",
    FindingVerdict.WARN: "yellow",
    FindingVerdict.FAIL: "red",
    FindingVerdict.ABSENT: "dim",
}


def doctor(*, as_json: AsJson = False) -> None:
    """Check settings, database, roles, history, keys and backups, and change nothing.

    Exits with 1 when a check fails. A warning does not count.

    Example: python -m app doctor --json

    Works on: the database, and the files of this host. Run it on each host.

    Needs: the settings of the service. Without a database the other checks still run.
    """
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
        print_json({"verdict": verdict, "findings": findings})
    else:
        _show(findings)
        counts = (
            f"{sum(finding.verdict is verdict for finding in findings)} {verdict}"
            for verdict in FindingVerdict
        )
        console.print(", ".join(counts), style=_STYLES[verdict])
    raise typer.Exit(1 if verdict is FindingVerdict.FAIL else 0)


def _examined(settings: Settings) -> list[Finding]:
    # Warnings of the log would repeat the findings.
    log.configure(max(settings.log.level, logging.ERROR), settings.log.format)
    with progress_display() as progress:
        task = progress.add_task("checking", total=None)
        return asyncio.run(
            examine(
                settings, lambda done, total: progress.update(task, completed=done, total=total)
            )
        )


def _show(findings: Sequence[Finding]) -> None:
    rows: list[tuple[str | Text, str | Text, str]] = []
    for group, members in groupby(findings, key=lambda finding: finding.group):
        rows.append((Text(group, "bold"), "", ""))
        for finding in members:
            verdict = Text(finding.verdict, _STYLES[finding.verdict])
            rows.append((f"  {finding.name}", verdict, finding.text))
    show_table(("check", "verdict", "observation"), rows)
