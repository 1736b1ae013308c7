"""What a developer's machine gets by itself: a token key and an admin token, in DATA_DIR.

Never in staging and production: there the key is a setting, and an operator with access to the
database makes the first token from the command line.
"""

import os
import secrets
from pathlib import Path

from app.access import tokens
from app.access.directory import TokenDirectory
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.database import Database
from app.errors import Unauthenticated
from app.settings import Secret, Settings, Tier

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file
_KEY_FILE = "token-key"


def token_key(settings: Settings) -> Secret:
    """Return the key of the settings, or the one in DATA_DIR, made if it is not there yet."""
    if settings.access.token_key is not None:
        return settings.access.token_key
    path = settings.data_dir / _KEY_FILE
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(48))
    return Secret(path.read_text(encoding="ascii").strip())


async def ensure_admin_token(
    settings: Settings, database: Database, directory: TokenDirectory
) -> Path | None:
    """Have a file with a token that may do everything, in the local tier; return its path.

    `directory` must be fresh. A file whose token is no longer good is replaced.
    """
    if settings.tier is not Tier.LOCAL:
        return None
    path = settings.data_dir / ADMIN_TOKEN_FILE
    if path.exists():
        try:
            directory.authenticate(path.read_text(encoding="ascii").strip())
        except Unauthenticated:
            path.unlink(missing_ok=True)
        else:
            return path
    grant = Grant(
        scopes=frozenset(Scope), environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None
    )
    key = token_key(settings)

    async with database.connection() as connection:
        token_id, text = await tokens.create(
            connection, key, name="local admin", grant=grant, actor="system:start"
        )
        if not _write_once(path, text):
            # Another instance that starts at the same moment was quicker; its token stays.
            await tokens.revoke(connection, token_id)
    await directory.refresh()
    return path


def _write_once(path: Path, text: str) -> bool:
    """Write the file with mode 0600 unless it exists, whole or not at all; tell whether we did."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike rename, it fails when the name is taken
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
