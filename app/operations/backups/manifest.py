"""The manifest of a backup: a signed description of its data.

age detects changed data but not its author: anyone who knows a recipient can encrypt for it. The
signature proves the author, and covers the digest of the data.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from app.configuration.changes.chain import canonical
from app.crypto.signing import Signer, is_signed
from app.operations.backups.errors import BackupError
from app.private_files import read_regular, write_private

FILE = "manifest.json"
FORMAT = 1
_PURPOSE = "backup"
_BYTES_MAX = 4 * 1024 * 1024

PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class BackupHead(msgspec.Struct, frozen=True, kw_only=True):
    """The last revision of one environment."""

    name: str
    epoch: str
    revision: int
    hash: str | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts, heads and versions belong to the same snapshot as the data."""

    format: int
    name: str
    created_at: datetime
    seconds: float
    database: str
    migration: str
    heads: Sequence[BackupHead]
    tables: Mapping[str, Count]
    postgres_version: str
    dump_version: int
    app_version: str
    recipients: Sequence[str]
    plain_bytes: Count
    bytes: Count
    sha256: Sha256
    public_key: PublicKey
    signature: str = ""

    @property
    def revisions(self) -> int:
        """The number of change sets in the backup."""
        return sum(head.revision for head in self.heads)


def signed(manifest: Manifest, signer: Signer) -> Manifest:
    """Return the manifest, signed by this installation."""
    bare = msgspec.structs.replace(manifest, public_key=signer.public_key, signature="")
    return msgspec.structs.replace(bare, signature=signer.sign(_PURPOSE, _content(bare)))


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the backup's folder. Raises OSError."""
    write_private(folder / FILE, json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n")


def read(folder: Path) -> Manifest:
    """Return the manifest of a backup's folder. Raises BackupError."""
    try:
        manifest = msgspec.json.decode(read_regular(folder / FILE, _BYTES_MAX), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder.name}: has no {FILE}") from None
    except OSError as error:
        raise BackupError(f"{folder.name}: {FILE} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BackupError(f"{folder.name}: {FILE} is damaged, or of a later release") from None
    if manifest.format != FORMAT or manifest.name != folder.name:
        raise BackupError(f"{folder.name}: {FILE} is of a later release, or of another backup")
    return manifest


def check_signature(manifest: Manifest, public_key: str) -> None:
    """Check that the owner of the key signed this manifest. Raises BackupError."""
    if manifest.public_key != public_key:
        raise BackupError(
            f"{manifest.name}: was signed by another installation or with another TOKEN_KEY. "
            f"If the public key {manifest.public_key} is yours, give it as --public-key"
        )
    bare = msgspec.structs.replace(manifest, signature="")
    if not is_signed(public_key, _PURPOSE, _content(bare), manifest.signature):
        raise BackupError(f"{manifest.name}: the manifest was changed after it was signed")


def _content(manifest: Manifest) -> bytes:
    content: Any = msgspec.to_builtins(manifest)
    return canonical(content)
