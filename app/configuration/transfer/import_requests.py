"""Import a file for a request of the API or of the console."""

from collections.abc import Callable

from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.configuration.changes.administration import record_emergencies
from app.configuration.changes.authority import Authority
from app.configuration.changes.write_requests import CHECKS
from app.configuration.snapshots.reading import wait_until_served
from app.configuration.transfer import service
from app.configuration.transfer.document_checks import check_document
from app.configuration.transfer.document_reader import read_document
from app.configuration.transfer.documents import Document, ImportOptions
from app.configuration.transfer.service import ImportResult
from app.database import Connection
from app.environments import service as environments
from app.errors import Conflict
from app.http import wire
from app.http.writes import checked, run_write
from app.secrets.reveal import VAULT
from app.threads import ThreadLimiter

IMPORT_BYTES_MAX = 16 * 1024 * 1024
# Ten thousand entries take one or two seconds, and longer with a slow disk.
IMPORT_SECONDS = 20.0
IMPORT_NODES_MAX = 500_000

# One per process, since large documents are rare.
TRANSFER_LIMITER: web.AppKey[ThreadLimiter] = web.AppKey("transfer_limiter", ThreadLimiter)
TRANSFER_WAIT_SECONDS = 3.0
OUTDATED = "import_outdated"


async def run_import(
    request: web.Request,
    raw: bytes,
    options: ImportOptions,
    authority: Authority,
    *,
    revision: int | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> ImportResult:
    """Import into the environment of the path, and wait until this instance serves the result.

    With `revision`, raises Conflict unless that is the latest revision. `confirm` may refuse an
    import that writes, and is not called for a proposal. Raises as the reader, as
    `service.import_document` and as `confirm`.
    """
    wire.allow(request, IMPORT_SECONDS)
    checkers, lenient = request.app[CHECKS].checkers, options.lenient

    def read() -> Document:
        document = read_document(raw, options.format, nodes_max=IMPORT_NODES_MAX, lenient=lenient)
        return check_document(document, checkers, lenient=lenient, secrets=options.secrets)

    reading = request.app[TRANSFER_LIMITER].run("read document", read)
    document = await checked(request, reading)
    name, actor = request.match_info["environment"], request[CALLER].actor
    log, caller = request.app[ACCESS_LOG], origin(request)

    async def work(connection: Connection) -> ImportResult:
        if revision is not None and await environments.lock(connection, name) != revision:
            raise Conflict(OUTDATED, "The environment has changed since. Check the import again.")
        imported = await service.import_document(
            connection,
            name,
            document(),
            mode=options.mode,
            actor=actor,
            message=options.message,
            dry_run=options.dry_run,
            vault=request.app[VAULT],
            checkers=checkers,
            authority=authority,
        )
        confirm()
        await record_emergencies(connection, log, [imported], caller)
        return imported

    imported = await run_write(
        request, work, actor=actor, answer_type=ImportResult, dry_run=options.dry_run
    )
    if not options.dry_run:
        await wait_until_served(request, name, imported.revision)
    return imported
