"""Who may do what in PostgreSQL: six roles, one job each.

flagstone_owner     owns every table and logs in nowhere
flagstone_auditor   owns the record of schema changes; nobody is or becomes it
flagstone_migrator  becomes the owner, for migrations alone
flagstone_app       the service: rows, never tables; append-only where history is kept
flagstone_readonly  looks
flagstone_backup    reads everything, for pg_dump
"""

import hashlib
import hmac
import os
from base64 import b64encode

PREFIX = "flagstone"
OWNER = f"{PREFIX}_owner"
AUDITOR = f"{PREFIX}_auditor"
MIGRATOR = f"{PREFIX}_migrator"
APP = f"{PREFIX}_app"
READONLY = f"{PREFIX}_readonly"
BACKUP = f"{PREFIX}_backup"

LOGIN_ROLES = (MIGRATOR, APP, READONLY, BACKUP)

# PostgreSQL's own count; RFC 7677 asks for 4096 at the least.
_ITERATIONS = 4096


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL stores for an ASCII password, by RFC 5802 and RFC 7677.

    Sent instead of the password, it leaves nothing readable in the server's statement log.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (b64encode(part).decode() for part in (salt, stored, server))
    salt_text, stored_text, server_text = parts
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_text}${stored_text}:{server_text}"
