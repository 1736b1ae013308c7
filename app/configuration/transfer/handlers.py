"""The endpoints of transfer: export and import of an environment, and its flagd document."""

from collections.abc import Mapping

import msgspec
from aiohttp import hdrs, web

from app.access.guard import CALLER, readable_keys
from app.access.models import Scope
from app.configuration.changes.models import Content
from app.configuration.changes.past import Moment
from app.configuration.changes.write_options import OPTIONS, message_of, options_of
from app.configuration.snapshots.reading import (
    read_snapshot,
    snapshot_head_lines,
    snapshot_headers,
)
from app.configuration.transfer import service
from app.configuration.transfer.document_writer import write_document
from app.configuration.transfer.documents import MEDIA_TYPES, Format, ImportOptions, Mode
from app.configuration.transfer.flagd_document import document_etag, flagd_document, left_out_header
from app.configuration.transfer.import_requests import (
    IMPORT_BYTES_MAX,
    TRANSFER_LIMITER,
    run_import,
)
from app.environments.models import Environment
from app.errors import Unsupported
from app.http import conditions, wire
from app.http.bodies import receive_body
from app.http.encoded import EncodedResponse
from app.http.headers import header_lines, revision_header
from app.http.keys import DATABASE
from app.names import counted
from app.secrets.reveal import VAULT, log_reveal, wants_secrets

_ENDINGS = {Format.FLAGD: "flagd.json"}
FORMATS = {
    "application/json": Format.JSON,
    "application/yaml": Format.YAML,
    "application/x-yaml": Format.YAML,
    "text/yaml": Format.YAML,
    "text/plain": Format.ENV,
}


async def export_environment(request: web.Request) -> web.Response:
    """Export an environment as a file.

    Give `revision` or `at` to export a past state. Secrets are masked unless `reveal` is true,
    which needs the scope reveal.
    """
    query = wire.read_query(request, {"format", "revision", "at", "min_revision", "reveal"})
    format_ = wire.choice(query, "format", Format) or Format.JSON
    reveal = wants_secrets(request, query)
    return await answer_export(request, query, format_, wire.moment(query), reveal=reveal)


async def answer_export(
    request: web.Request,
    query: dict[str, str],
    format_: Format,
    moment: Moment | None,
    *,
    reveal: bool,
) -> web.Response:
    """Return the file. The caller has checked the scope for `reveal`."""
    name = request.match_info["environment"]

    if moment is None and not reveal:
        snapshot = await read_snapshot(request, query)
        environment, headers = snapshot.environment, snapshot_headers(request, snapshot)

        def read() -> Mapping[str, Content]:
            entries = snapshot.entries.items()
            return {key: Content.of(entry.configuration) for key, entry in entries}

    else:
        if reveal:
            environment, entries = await _revealed(request, moment)
        else:
            async with request.app[DATABASE].connection() as connection:
                environment, entries = await service.environment_at(
                    connection, name, moment, keys=readable_keys(request)
                )
        headers = revision_header(environment.epoch, environment.revision)

        def read() -> Mapping[str, Content]:
            return entries

    lists = None
    if format_ is Format.FLAGD and (reveal or moment is not None):
        async with request.app[DATABASE].connection() as connection:
            lists = await service.lists_of(connection, read())
    text = await request.app[TRANSFER_LIMITER].run(
        "write document",
        lambda: write_document(environment, read(), format_, readable_keys(request)),
    )
    del lists

    headers[hdrs.CONTENT_TYPE] = MEDIA_TYPES[format_]
    ending = _ENDINGS.get(format_, format_)
    headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{name}.{ending}"'
    return web.Response(body=text, headers=headers)


async def _revealed(
    request: web.Request, moment: Moment | None
) -> tuple[Environment, Mapping[str, Content]]:
    """Return the environment with its secrets in clear, after the access log has recorded that."""
    name = request.match_info["environment"]
    # A separate transaction: that of the record does not read one snapshot of the database.
    async with request.app[DATABASE].connection() as connection:
        environment, entries = await service.environment_at(
            connection,
            name,
            moment,
            keys=readable_keys(request),
            revealed=request[CALLER].rights.keys(Scope.REVEAL, name),
            vault=request.app[VAULT],
        )
    if secrets := service.count_revealed(entries):
        detail = f"export of {counted(secrets, 'secret')} as of revision {environment.revision}"
        await request.app[DATABASE].transact(lambda c: log_reveal(c, request, detail=detail))
    return environment, entries


async def get_flagd_document(request: web.Request) -> web.Response:
    """Get the flags of an environment as a flagd document.

    flagd can use this URL as an HTTP sync source. Flags that need others get the rules of these.
    The header `Flagstone-Left-Out` lists the flags for which that is impossible.
    """
    query = wire.read_query(request, {"min_revision"})
    snapshot = await read_snapshot(request, query)

    etag = document_etag(snapshot)
    head = snapshot_head_lines(request, snapshot) + f"ETag: {etag}\r\n".encode()
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", head, status=304)
    body, left_out = await flagd_document(snapshot)

    head += header_lines(left_out_header(left_out))
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return EncodedResponse(body, head)


async def import_environment(request: web.Request) -> web.Response:
    """Import a file into an environment.

    The import is one change set: all of it succeeds or none of it.
    """
    query = wire.read_query(request, {"format", "mode", "message", "lenient", "secret", *OPTIONS})
    write_options = options_of(request, query)
    options = ImportOptions(
        format=wire.choice(query, "format", Format) or _format(request),
        mode=wire.choice(query, "mode", Mode) or Mode.MERGE,
        message=message_of(query, "Import"),
        secrets=query["secret"].split(",") if "secret" in query else (),
        lenient=wire.flag(query, "lenient"),
        dry_run=write_options.dry_run,
    )
    authority = write_options.authority(query.get("message", ""))
    raw = await receive_body(request, IMPORT_BYTES_MAX)

    imported = await run_import(request, raw, options, authority)

    if options.dry_run:
        return wire.answer(msgspec.structs.replace(imported, dry_run=True))
    headers = revision_header(imported.epoch, imported.revision)
    return wire.answer(imported, headers=headers)


def _format(request: web.Request) -> Format:
    format_ = FORMATS.get(request.content_type)
    if format_ is None:
        raise Unsupported(
            "content_type_unsupported",
            f"The body must be one of {', '.join(FORMATS)}, or the query must name its format.",
        )
    return format_
