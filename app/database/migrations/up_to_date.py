"""Find out with asyncpg whether the migrator would change nothing.

Nearly every start finds a complete schema. Then the process imports neither yoyo nor psycopg, which
take 12 MB of memory and a tenth of the start.
"""

from collections.abc import Sequence

import asyncpg

from app.database.catalog.fingerprint import WORDING
from app.database.catalog.recording import RecordingStatus, find_recording
from app.database.client.primary import AsyncpgConnection
from app.database.client.session_setup import prepare_as_owner
from app.database.client.statements import sql
from app.database.migrations.files import MigrationFile
from app.database.role_names import APP, BACKUP, READONLY
from app.database.roles.rights import rights_of


async def is_up_to_date(connection: AsyncpgConnection, files: Sequence[MigrationFile]) -> bool:
    """Return whether all is as the migrator leaves it: ledger, rights and expected schema.

    Every doubt counts as no: the migrator checks again, and reports problems.
    """
    try:
        await prepare_as_owner(connection)
        return (
            await _has_all(connection, files)
            and await _has_rights(connection)
            and await _has_expected_schema(connection, files[-1].name)
        )
    except asyncpg.PostgresError:
        return False


async def _has_all(connection: AsyncpgConnection, files: Sequence[MigrationFile]) -> bool:
    records = {
        (row["name"], row["checksum"], row["state"])
        async for row in sql.list_migrations(connection)
    }
    return records == {(file.name, file.checksum, "applied") for file in files}


async def _has_rights(connection: AsyncpgConnection) -> bool:
    """Return whether each role has exactly its rights to each table."""
    rows = sql.list_rights(connection, roles=[APP, READONLY, BACKUP])
    return all(
        [
            set(row["rights"])
            == (rights_of(row["role"], row["relation"]) if row["is_listed"] else set())
            async for row in rows
        ]
    )


async def _has_expected_schema(connection: AsyncpgConnection, last: str) -> bool:
    """Return whether the last run stored its schema, and whether that was recorded."""
    stored = await sql.find_expected_schema(connection)
    if stored is None or stored["migration"] != last or WORDING not in stored["facts"]:
        return False
    if stored["recording"]:
        return True
    # The migrator stores that changes are recorded, once `database provision` has begun it.
    return (await find_recording(connection)).status is not RecordingStatus.RECORDING
