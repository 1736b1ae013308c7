"""What a developer's machine gets by itself: a token key and an admin token, in DATA_DIR.

Never in staging and production: there the key is a setting, and an operator with access to the
database makes the first token from the command line.
"""

import secrets
from pathlib import Path

from app.access import tokens
from app.access.directory import TokenDirectory
from app.access.events import Origin
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.database import Connection, Database, sql
from app.errors import ForeseenError, Unauthenticated, reason
from app.log import logger
from app.private_files import write_new
from app.settings import Secret, Settings, Tier
from app.settings.parsers import key_material

log = logger(__name__)

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file
_KEY_FILE = "token-key"
_ORIGIN = Origin(actor="system:start")


class DataFolderError(ForeseenError):
    """A file of DATA_DIR cannot be read or written."""


def token_key(settings: Settings) -> Secret:
    """Return the key of the settings, or the one in DATA_DIR, made if it is not there yet.

    Raises DataFolderError, also for a key that the settings would refuse: with an empty one
    everybody could make tokens who can write to the database.
    """
    if settings.access.token_key is not None:
        return settings.access.token_key
    path = settings.data_dir / _KEY_FILE
    found = _read(path)
    if found is None:
        write_once(path, secrets.token_urlsafe(48))
        found = _read(path)
    try:
        return key_material(found or "")
    except ValueError as error:
        raise DataFolderError(f"DATA_DIR: {path} {error}") from None


def has_token_key(settings: Settings) -> bool:
    """Tell whether `token_key` would find a key, and make none. Raises DataFolderError."""
    if settings.access.token_key is not None:
        return True
    path = settings.data_dir / _KEY_FILE
    return _read(path) is not None and bool(token_key(settings))


async def ensure_admin_token(
    settings: Settings, database: Database, directory: TokenDirectory, access_log: AccessLog
) -> Path | None:
    """Have a file with a token that may do everything, in the local tier; return its path.

    A file whose token is no longer good is replaced. Raises DataFolderError.
    """
    if settings.tier is not Tier.LOCAL:
        return None
    path = settings.data_dir / ADMIN_TOKEN_FILE
    key = token_key(settings)
    grant = Grant(
        scopes=frozenset(Scope), environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None
    )

    async def work(connection: Connection) -> None:
        # Instances that start together come one after the other: each must see the last one's.
        await sql.lock_local_admin(connection)
        directory.use(await tokens.list_usable(connection))
        if _is_good(path, directory):
            return
        made = await tokens.create(
            connection, access_log, key, name="local admin", grant=grant, origin=_ORIGIN
        )
        # Before the commit: a file without its token is replaced at the next start, whereas a
        # token without its file would be good for ever and known to nobody.
        _remove(path)
        write_once(path, made.text)

    await database.transact(work)
    await directory.refresh()
    log.info("admin_token", file=str(path))
    return path


def _is_good(path: Path, directory: TokenDirectory) -> bool:
    try:
        directory.authenticate(_read(path) or "")
    except Unauthenticated:
        return False
    return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DataFolderError(f"DATA_DIR: {path} must hold ASCII text") from None
    except OSError as error:
        raise DataFolderError(f"DATA_DIR: {path} cannot be read: {reason(error)}") from None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataFolderError(f"DATA_DIR: {path} cannot be replaced: {reason(error)}") from None


def write_once(path: Path, text: str) -> None:
    """Write the file with mode 0600, whole or not at all; one that is there by now stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, text + "\n")
    except FileExistsError:
        return
    except OSError as error:
        raise DataFolderError(f"DATA_DIR: {path} cannot be written: {reason(error)}") from None
