"""Posted forms of a list: a few values to add and to remove, and an upload; and the download."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import hdrs, web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.entries.service import check_stored_key
from app.configuration.lists.exporting import ExportFormat
from app.configuration.lists.handlers import answer_export, run_patch, run_upload
from app.configuration.lists.models import PATCHED_MAX, ListPatch, ListResult
from app.configuration.lists.service import ListTarget, UploadMode
from app.configuration.lists.upload_reader import UploadFormat, UploadReader
from app.configuration.snapshots.reading import wait_until_served
from app.console.emergency import read_authority
from app.console.entry_pages import read_version
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.lists.page import show_list
from app.console.pages import redirect
from app.console.rendering import frame
from app.console.saving import check_grant, check_message, check_present, proposing
from app.console.settings.handlers import find_entry
from app.console.state import read_moment, read_state
from app.console.transfer.forms import FORM_BYTES_MAX, shown_name
from app.console.transfer.multipart import CONTENT_TYPE, read_multipart
from app.errors import Conflict, Invalid, Malformed, Stale, Unsupported, invalid
from app.http import wire
from app.http.bodies import receive_body
from app.http.conditions import ExpectedVersion
from app.http.keys import OWN_HEADERS
from app.threads import in_thread

_PIECE_BYTES = 256 * 1024
_UPLOAD_SECONDS = 600.0
# A file name takes the other characters of a key on every system.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NDJSON_NAMES = (".ndjson", ".jsonl")
_REFUSALS = (Malformed, Invalid, Conflict, Stale)


async def post_list_values(request: web.Request) -> web.Response:
    """Add and remove the values of two text fields, one in each line."""
    form = await read_form(request)

    async def write() -> ListResult:
        target = _target(request, form)
        add, remove = _lines(form, "add"), _lines(form, "remove")
        return await run_patch(request, target, ListPatch(add=[*add], remove=remove))

    return await _save(request, form, write)


async def post_list_upload(request: web.Request) -> web.Response:
    """Upload a file, which replaces the list, or whose values are added or removed."""
    if request.content_type != CONTENT_TYPE:
        raise Unsupported("content_type_unsupported", f"The body must be {CONTENT_TYPE}.")
    raw = await receive_body(request, FORM_BYTES_MAX)
    header = request.headers.get(hdrs.CONTENT_TYPE, "")
    parts = await in_thread("form", lambda: read_multipart(raw, header))
    fields = ((p.name, p.content.decode(errors="replace")) for p in parts if p.filename is None)
    form = Form(fields)
    file = next((part for part in parts if part.filename), None)

    async def write() -> ListResult:
        if file is None:
            raise invalid("file", "must be chosen")
        name = shown_name(file.filename or "")
        mode = wire.choice(form, "mode", UploadMode) or UploadMode.REPLACE
        target = _target(request, form, message=f"Upload {name}")
        is_json = name.endswith(_NDJSON_NAMES)
        reader = UploadReader(UploadFormat.NDJSON if is_json else UploadFormat.CSV)
        wire.allow(request, _UPLOAD_SECONDS)
        return await run_upload(request, target, mode, reader, _pieces(file.content))

    return await _save(request, form, write)


async def get_list_export(request: web.Request) -> web.StreamResponse:
    """Send all values as a CSV file."""
    name = _UNSAFE.sub("-", request.match_info["key"])
    request[OWN_HEADERS][hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{name}.csv"'
    return await answer_export(request, ExportFormat.CSV, read_moment(request))


async def _save(
    request: web.Request, form: Form, write: Callable[[], Awaitable[ListResult]]
) -> web.Response:
    """Write, and lead to the page of the list. A refusal shows the page with the form."""
    state = await read_state(request)
    entry = find_entry(request, state)
    try:
        check_present(request)
        check_grant(request, state.snapshot.environment.name, Scope.PROPOSE)
        async with proposing(request):
            written = await write()
    except _REFUSALS as error:
        status = shown_status(request, error)
        errors = FormErrors.of(error)
        return await show_list(request, state, entry, errors=errors, form=form, status=status)
    await wait_until_served(request, written.environment, written.revision)
    return redirect(frame(request, state).url("segments", entry.key, saved=written.revision))


def _target(request: web.Request, form: Form, *, message: str = "") -> ListTarget:
    message = form.get("message", "").strip() or message
    check_message(message)
    return ListTarget(
        environment=request.match_info["environment"],
        key=check_stored_key(request.match_info["key"]),
        expected=ExpectedVersion(version=read_version(form)),
        actor=request[CALLER].actor,
        message=message,
        authority=read_authority(request, message),
    )


def _lines(form: Form, name: str) -> list[str]:
    """Return the lines of a field that have a value. Raises Invalid for too many."""
    values = [line.strip() for line in form.get(name, "").splitlines() if line.strip()]
    if len(values) > PATCHED_MAX:
        raise invalid(name, f"must have at most {PATCHED_MAX:,} values; upload a file instead")
    return values


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]
