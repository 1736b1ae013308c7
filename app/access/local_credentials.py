"""The token key and the admin token of the local tier, stored in DATA_DIR.

In staging and production the key is a setting, and an operator creates the first token at the
command line.
"""

import secrets
from pathlib import Path

from app.access import tokens
from app.access.directory import TokenDirectory
from app.access.events import Origin
from app.access.log import AccessLog
from app.access.models import PERSONAL_GRANT, PERSONAL_SCOPES, Scope
from app.access.people.edit import AccessEdit
from app.database import Connection, Database, sql
from app.errors import ForeseenError, Unauthenticated, reason
from app.log import logger
from app.private_files import make_data_folder, write_new
from app.settings import Secret, Settings, Tier
from app.settings.parsers import key_material

log = logger(__name__)

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file
_KEY_FILE = "token-key"
_ORIGIN = Origin(actor="system:start")


class DataFolderError(ForeseenError):
    """A file of DATA_DIR cannot be read or written."""


def token_key(settings: Settings) -> Secret:
    """Return the key of the settings, or the key in DATA_DIR, which is created if it is missing.

    Raises DataFolderError, also for a key that the settings would refuse: with an empty key, write
    access to the database would be enough to create tokens.
    """
    if settings.access.token_key is not None:
        return settings.access.token_key
    path = settings.data_dir / _KEY_FILE
    key = _read(path)
    if key is None:
        write_once(path, secrets.token_urlsafe(48))
        key = _read(path)
    try:
        return key_material(key or "")
    except ValueError as error:
        raise DataFolderError(f"DATA_DIR: {path} {error}") from None


def has_token_key(settings: Settings) -> bool:
    """Return whether there is a token key, without creating one. Raises DataFolderError."""
    if settings.access.token_key is not None:
        return True
    path = settings.data_dir / _KEY_FILE
    return _read(path) is not None and bool(token_key(settings))


async def ensure_admin_token(
    settings: Settings, database: Database, directory: TokenDirectory, access_log: AccessLog
) -> Path | None:
    """Ensure a file with an admin token in the local tier, and return its path.

    Replace a file whose token is no longer valid or lacks a scope. Raises DataFolderError.
    """
    if settings.tier is not Tier.LOCAL:
        return None
    path = settings.data_dir / ADMIN_TOKEN_FILE
    key = token_key(settings)

    async def work(connection: Connection) -> None:
        # Instances that start together take turns: each must see the token of the one before.
        await sql.take_lock(connection, name="local_admin")
        directory.use(await tokens.list_usable(connection))
        if _is_valid(path, directory):
            return
        edit = AccessEdit(connection=connection, log=access_log, key=key, origin=_ORIGIN)
        new = await tokens.create(edit, name="local admin", grant=PERSONAL_GRANT)
        # Before the commit: the next start replaces a file without a token, but a token without a
        # file would stay valid and unused.
        _remove(path)
        write_once(path, new.text)

    await database.transact(work)
    await directory.refresh()
    log.info("admin_token", file=str(path))
    return path


def _is_valid(path: Path, directory: TokenDirectory) -> bool:
    """Return whether the file has a valid token, with all scopes if it is for administrators."""
    try:
        caller = directory.authenticate(_read(path) or "")
    except Unauthenticated:
        return False
    # That of an earlier release lacks the scopes that were added since.
    has = caller.rights.has
    return not has(Scope.ADMIN) or all(map(has, PERSONAL_SCOPES))


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
    """Write the file with mode 0600, completely or not at all. Leave an existing file."""
    try:
        make_data_folder(path.parent)
        write_new(path, text + "\n")
    except FileExistsError:
        return
    except OSError as error:
        raise DataFolderError(f"DATA_DIR: {path} cannot be written: {reason(error)}") from None
