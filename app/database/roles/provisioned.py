"""Find out whether an embedded server is as its last provisioning left it.

Every start would provision again, with psycopg: 12 MB of memory, and a tenth of the start. A file
has the hash of all that provisioning reads and changes. If the hash is another one, the start
provisions, which repairs each change.
"""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.database import catalog
from app.database.catalog.recording import RecordingStatus, find_recording
from app.database.client.drivers import asyncpg_arguments
from app.database.role_names import LOGIN_ROLES, PREFIX
from app.database.roles.credentials import url_file
from app.private_files import write_new
from app.settings import DatabaseSettings, Target

_CONNECT_SECONDS = 5
# Roles with their passwords, memberships, settings of roles, and the rights to create objects.
_STATE = """
select jsonb_build_array(
    (select jsonb_agg(to_jsonb(item) order by item.oid) from pg_authid as item),
    (select jsonb_agg(to_jsonb(item) order by item.oid) from pg_auth_members as item),
    (
        select jsonb_agg(to_jsonb(item) order by setdatabase, setrole)
        from pg_db_role_setting as item
    ),
    (select jsonb_agg(to_jsonb(item) order by item.oid) from pg_default_acl as item),
    (
        select jsonb_build_array(oid, datdba, datacl::text)
        from pg_database where datname = current_database()
    ),
    (
        select jsonb_agg(jsonb_build_array(nspname, nspowner, nspacl::text) order by nspname)
        from pg_namespace where nspname = any($1)
    )
)::text
"""
_SCHEMAS = ["flagstone", "flagstone_audit", "public"]


@dataclass(frozen=True, kw_only=True)
class ProvisionedState:
    """The state that `file` remembers. `admin` is the superuser, `folder` has the URL files."""

    admin: Target
    settings: DatabaseSettings
    folder: Path
    file: Path

    def is_current(self) -> bool:
        """Return whether provisioning would change nothing. Blocks."""
        try:
            return self.file.read_text(encoding="ascii") == self._hash()
        except (OSError, ValueError):
            return False

    def remember(self) -> None:
        """Store the state after provisioning. If that fails, the next start provisions again."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)
            if state := self._hash():
                write_new(self.file, state)

    def _hash(self) -> str | None:
        """Return the hash, or None if the state is incomplete or cannot be read."""
        try:
            state = asyncio.run(self._read())
            files = [url_file(self.folder, role).read_bytes() for role in LOGIN_ROLES]
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        if state is None:
            return None
        mode = str(self.folder.stat().st_mode)
        parts = [mode.encode(), state.encode(), *files, *_release()]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    async def _read(self) -> str | None:
        """Return the state of the server, or None unless schema changes are recorded."""
        ((host, port),) = self.admin.hosts
        connection = await asyncpg.connect(
            **asyncpg_arguments(self.admin.named(PREFIX), self.settings),
            host=host,
            port=port,
            timeout=_CONNECT_SECONDS,
        )
        try:
            if (await find_recording(connection)).status is not RecordingStatus.RECORDING:
                return None
            return str(await connection.fetchval(_STATE, _SCHEMAS))
        finally:
            connection.terminate()


def _release() -> list[bytes]:
    """Return the code that provisions: another release may provision otherwise."""
    folders = (Path(__file__).parent, *map(Path, catalog.__path__))
    return [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
