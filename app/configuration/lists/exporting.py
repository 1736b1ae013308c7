"""Write the values of a list as a file that an upload takes."""

import csv
import io
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from enum import StrEnum
from functools import partial

import msgspec

from app.configuration.lists import reading
from app.configuration.lists.models import StoredValue
from app.configuration.lists.reading import ReadList
from app.database import Database
from app.threads import in_thread


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


async def file_parts(
    database: Database, list_: ReadList, format_: ExportFormat
) -> AsyncGenerator[bytes, None]:
    """Yield the file in parts."""
    if format_ is ExportFormat.CSV:
        yield b"value,expires_at\n"
    async with aclosing(reading.all_values(database, list_)) as pages:
        async for page in pages:
            yield await in_thread("write list", partial(_written, page, format_))


def _written(page: Sequence[StoredValue], format_: ExportFormat) -> bytes:
    if format_ is ExportFormat.NDJSON:
        items = (item if item.expires_at else item.value for item in page)
        return b"".join(msgspec.json.encode(item) + b"\n" for item in items)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for item in page:
        row = [item.value]
        if item.expires_at:
            row.append(item.expires_at.isoformat())
        writer.writerow(row)
    return text.getvalue().encode()
