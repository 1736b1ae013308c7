"""`flag preview`: the effect of a new definition, before it is stored."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import find_entry
from app.cli.help import Commands
from app.cli.options import AsJson, EnvironmentName
from app.cli.terminal import console, print_json, show_table
from app.configuration.changes.models import Kind
from app.errors import invalid
from app.evaluation.explain import Explanation
from app.flags.flag_pair import MISSING_FLAG
from app.flags.preview_views import (
    DraftEntry,
    FlagPreview,
    GuardPreview,
    Preview,
    PreviewRequest,
    SampleRequest,
)
from app.flags.sampling import outcome_name
from app.http.decoder import decode, parse

cli = Commands(is_remote=True)

_ENTRY_MEMBERS = {"value", "kind", "schema", "description", "message"}


@cli.command("preview")
def preview(
    environment: EnvironmentName,
    key: Annotated[str, typer.Argument(help="Key of the flag or segment.")],
    definition: Annotated[
        str | None,
        typer.Argument(help="New definition: a file, JSON, or - for standard input."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(help="Context to evaluate now and after. Can be repeated.", metavar="JSON"),
    ] = None,
    base: Annotated[
        str, typer.Option(help="Attributes of all sampled contexts.", metavar="JSON")
    ] = "{}",
    by: Annotated[
        str | None,
        typer.Option(
            help="Attribute to vary; by default those that splits use.", metavar="ATTRIBUTE"
        ),
    ] = None,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Preview the deletion.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show who gets another variant if a flag or segment changes. Stores nothing.

    Evaluates 10,000 sampled keys, the contexts, and the guards, before and after. Exits with 1 if
    the definition would be refused.

    Example: python -m app flag preview local new-checkout definition.json
    """
    if delete is (definition is not None):
        raise invalid("definition", "must be given, or --delete, and not both")
    value = None if definition is None else read_json(definition)
    contexts = [_object(text, "--context") for text in context or ()]
    sample = SampleRequest(context=_object(base, "--base"), attribute=by)

    async def work(backend: Backend) -> Preview:
        entry = None
        if not delete:
            stored = await find_entry(backend, environment, key)
            entry = _entry(value, stored.kind if stored else Kind.FLAG)
        request = PreviewRequest(changes={key: entry}, contexts=contexts, sample=sample)
        return await backend.preview(environment, request)

    result = run_backend(work)
    if as_json:
        print_json(result)
    else:
        for line in _lines(result, contexts):
            console.print(line)
    if result.refusals:
        raise typer.Exit(1)


def read_json(definition: str) -> Any:
    """Return the JSON of the argument, of a file or of standard input. Raises Malformed."""
    if definition == "-":
        raw = sys.stdin.buffer.read()
    elif definition.lstrip().startswith("{"):
        raw = definition.encode(errors="surrogateescape")
    else:
        raw = Path(definition).read_bytes()
    return parse(raw, root="definition")


def _entry(value: Any, kind: str) -> DraftEntry:
    """Return the entry. A file may have a definition, or the body of a write with `value`."""
    body = {"kind": kind, "value": value}
    if isinstance(value, dict) and "value" in value and value.keys() <= _ENTRY_MEMBERS:
        body = {"kind": kind, **value}
        body.pop("message", None)
    return decode(json.dumps(body).encode(), DraftEntry)


def _object(text: str, option: str) -> dict[str, Any]:
    parsed = parse(text.encode(errors="surrogateescape"), root=option)
    if not isinstance(parsed, dict):
        raise invalid(option, "must be a JSON object")
    return parsed


def _lines(preview: Preview, contexts: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines, and print the tables between them."""
    for of_flag in preview.flags:
        yield f"{of_flag.key}: {_change(of_flag)}"
        _show_table(of_flag)
        for context, outcomes in zip(contexts, of_flag.contexts, strict=True):
            text = json.dumps(context, ensure_ascii=False)
            before, after = _outcome(outcomes.before), _outcome(outcomes.after)
            yield f"{text}: {before} → {after}" if outcomes.changed else f"{text}: {after}, as now"
        yield from map(_guard, of_flag.guards)
    if not preview.flags and not preview.refusals:
        yield "no flag is affected"
    if len(preview.flags) < preview.flags_count:
        yield f"{preview.flags_count - len(preview.flags)} more affected flags are not shown"
    for refusal in preview.refusals:
        reasons = [f"{error.field} {error.rule}" for error in refusal.errors] or [refusal.detail]
        yield from (f"would be refused: {reason}" for reason in reasons)


def _change(of_flag: FlagPreview) -> str:
    sample = of_flag.sample
    if sample.changed == 0:
        return f"of {sample.keys:,} keys, none changes"
    return f"of {sample.keys:,} keys, {sample.changed:,} change{'s' * (sample.changed == 1)}"


def _show_table(of_flag: FlagPreview) -> None:
    """Print the two-way table: a row for each variant now, a column for each one after."""
    counts = {
        (_in_words(item.before), _in_words(item.after)): item.keys
        for item in of_flag.sample.movements
    }
    rows = sorted({before for before, _ in counts})
    columns = sorted({after for _, after in counts})
    show_table(
        ("now", *(f"→ {after}" for after in columns)),
        [(before, *(counts.get((before, after), 0) for after in columns)) for before in rows],
    )


def _outcome(explanation: Explanation | None) -> str:
    return _in_words(MISSING_FLAG if explanation is None else outcome_name(explanation.outcome))


def _in_words(outcome: str) -> str:
    return "no flag" if outcome == MISSING_FLAG else outcome


def _guard(guard: GuardPreview) -> str:
    name = guard.name or f"number {guard.position + 1}"
    actual, expected = guard.actual or "no variant", guard.variant or "no variant"
    if guard.holds:
        return f"guard {name}: holds, {actual}"
    return f"guard {name}: broken, gets {actual} and must get {expected}"
