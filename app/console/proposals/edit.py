"""The edit of a proposal: its title, its message, and the value of each of its keys."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.changes.requests import AnyOperation, PatchOperation, PutOperation
from app.configuration.changes.rows import read_entries
from app.configuration.proposals import parts, reading, steps
from app.configuration.proposals.handlers import read_id
from app.configuration.proposals.models import Proposal
from app.configuration.proposals.requests import TITLE_MAX, ProposalPatch
from app.console.entry_pages import read_version
from app.console.forms import FormErrors, read_form, shown_status
from app.console.json_text import parse_json, pretty
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.environments import service as environments
from app.errors import AppError, invalid, malformed
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE


async def get_edit(request: web.Request) -> web.Response:
    """Show the form that edits a proposal."""
    proposal = await _find(request)
    texts = [_text(operation) for operation in proposal.operations]
    return await _edit_page(request, proposal, proposal.title, proposal.message, texts)


async def post_edit(request: web.Request) -> web.Response:
    """Save an edit, based on the versions that the page has shown."""
    form = await read_form(request)
    proposal = await _find(request)
    title, message = form.get("title", "").strip(), form.get("message", "").strip()
    texts, seen = form.getall("operation", []), form.getall("seen", [])
    try:
        if not 1 <= len(title) <= TITLE_MAX:
            raise invalid("title", f"must have 1 to {TITLE_MAX} characters")
        if len(message) > MESSAGE_MAX:
            raise invalid("message", f"must have at most {MESSAGE_MAX} characters")
        if not len(texts) == len(seen) == len(proposal.operations):
            raise invalid("operation", "must be given for each key")
        rows = zip(proposal.operations, texts, seen, strict=True)
        operations = [_edited(*row, position) for position, row in enumerate(rows)]
        patch = ProposalPatch(title=title, message=message, operations=operations)
        expected = ExpectedVersion(version=read_version(form))
        await steps.edit(request, proposal.id, patch, expected=expected)
    except AppError as error:
        return await _edit_page(request, proposal, title, message, texts, error)
    return redirect(frame(request).url_of("proposals", str(proposal.id)))


async def _find(request: web.Request) -> Proposal:
    rights = request[CALLER].rights
    async with request.app[DATABASE].connection() as connection:
        proposal = await reading.find(connection, read_id(request), rights)
    # The form shows all operations.
    parts.require_all(rights, Scope.READ, proposal.operations)
    parts.require_all(rights, Scope.PROPOSE, proposal.operations)
    return proposal


def _text(operation: AnyOperation) -> str:
    """Return the value of an operation as JSON."""
    return pretty(operation.value) if _has_value(operation) else ""


def _has_value(operation: AnyOperation) -> TypeGuard[PutOperation]:
    """Return whether the form shows a value: a secret and a deletion have none."""
    return isinstance(operation, PutOperation) and operation.kind != "secret"


def _edited(operation: AnyOperation, text: str, seen: str, position: int) -> AnyOperation:
    if not (seen.isascii() and seen.isdecimal() and len(seen) <= 18):
        raise malformed("seen", "must be a whole number")
    version = int(seen)
    if not isinstance(operation, PutOperation) and version == 0:
        raise invalid(f"operations[{position}].key", "does not exist any more")
    operation = msgspec.structs.replace(operation, version=version)
    if not _has_value(operation):
        return operation
    value = parse_json(text, f"operations[{position}].value")
    return msgspec.structs.replace(operation, value=value)


@dataclass(frozen=True, kw_only=True)
class EditRow:
    """An operation of the form. `present` is the value now, if the key has moved."""

    operation: AnyOperation
    text: str | None
    version: int
    present: str


async def _rows(
    request: web.Request, operations: Sequence[AnyOperation], texts: Sequence[str]
) -> list[EditRow]:
    rows = []
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for operation in operations:
        if not isinstance(operation, PatchOperation):
            keys[operation.environment or ""].append(operation.key)
    async with request.app[DATABASE].connection() as connection:
        entries = {name: await read_entries(connection, name, keys[name]) for name in keys}
        for position, operation in enumerate(operations):
            name = operation.environment or ""
            text = texts[position] if position < len(texts) else ""
            present = ""
            if isinstance(operation, PatchOperation):
                version = (await environments.get(connection, name)).version
            else:
                entry = entries[name][operation.key]
                version = entry.version or 0
                if version != operation.version and entry.content is not None:
                    present = pretty(entry.content.value)
            rows.append(
                EditRow(
                    operation=operation,
                    text=text if _has_value(operation) else None,
                    version=version,
                    present=present,
                )
            )
    return rows


async def _edit_page(
    request: web.Request,
    proposal: Proposal,
    title: str,
    message: str,
    texts: Sequence[str],
    error: AppError | None = None,
) -> web.Response:
    return page(
        request,
        "proposals/edit.html",
        status=shown_status(request, error),
        proposal=proposal,
        title=title,
        message=message,
        rows=await _rows(request, proposal.operations, texts),
        errors=FormErrors() if error is None else FormErrors.of(error),
    )
