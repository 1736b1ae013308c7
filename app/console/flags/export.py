"""The export of selected flags as a file, with the segments and flags that they use."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from app.configuration.changes.models import Content, Kind
from app.configuration.changes.references import used_names
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.transfer.document_writer import write_document
from app.configuration.transfer.documents import MEDIA_TYPES, Format
from app.configuration.transfer.import_requests import TRANSFER_LIMITER
from app.console.forms import Form
from app.errors import invalid

EXPORT_FORMATS = {
    Format.JSON: "JSON of Flagstone, which an import reads",
    Format.YAML: "YAML of Flagstone, which an import reads",
    Format.FLAGD: "JSON of flagd",
}
_RULES = {Kind.FLAG, Kind.SEGMENT}
_ENDINGS = {Format.FLAGD: "flagd.json"}


async def export_flags(
    request: web.Request, snapshot: Snapshot, keys: Sequence[str], form: Form
) -> web.Response:
    """Return the flags as a file to download. Raises Invalid for the format, and Unavailable."""
    if form.get("format") not in set(EXPORT_FORMATS):
        raise invalid("format", f"must be one of {', '.join(EXPORT_FORMATS)}")
    format_, environment = Format(form["format"]), snapshot.environment
    text = await request.app[TRANSFER_LIMITER].run(
        "write document",
        lambda: write_document(environment, _contents(snapshot, keys), format_, snapshot.limits),
    )
    name = f"{environment.name}-flags.{_ENDINGS.get(format_, format_)}"
    return web.Response(
        body=text,
        headers={
            hdrs.CONTENT_TYPE: MEDIA_TYPES[format_],
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
        },
    )


def _contents(snapshot: Snapshot, keys: Sequence[str]) -> dict[str, Content]:
    """Return the flags that exist, and what they use, directly or through others."""
    contents: dict[str, Content] = {}
    waiting = [key for key in keys if _kind(snapshot, key) == Kind.FLAG]
    while waiting:
        key = waiting.pop()
        if key not in contents:
            content = contents[key] = Content.of(snapshot.entries[key].configuration)
            waiting += [name for name in used_names(content) if _kind(snapshot, name) in _RULES]
    return contents


def _kind(snapshot: Snapshot, key: str) -> str | None:
    entry = snapshot.entries.get(key)
    return entry.kind if entry is not None else None
