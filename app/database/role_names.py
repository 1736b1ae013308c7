"""The six PostgreSQL roles, each with one job.

flagstone_owner     owns every table, and cannot log in
flagstone_auditor   owns the record of schema changes, cannot log in, and has no members
flagstone_migrator  becomes the owner, for migrations only
flagstone_app       the service: it changes rows, and can only insert rows of the history
flagstone_readonly  reads tables
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

# The default of PostgreSQL, and the minimum of RFC 7677.
_ITERATIONS = 4096


def scram_verifier(password: str) -> str:
    """Return the SCRAM verifier of an ASCII password, by RFC 5802 and RFC 7677.

    It is sent instead of the password, so the statement log of the server has no password.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (b64encode(part).decode() for part in (salt, stored, server))
    salt_text, stored_text, server_text = parts
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_text}${stored_text}:{server_text}"
