"""Check the files of `migrations/`: names, pairs, headers and checksums.

yoyo is too lenient: it hashes only names, treats a missing rollback as empty, and sorts names as
text. So this module checks the folder before yoyo reads it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from app.errors import ForeseenError

LOCK_KEY = 0x666C6167  # "flag" in ASCII: the lock of every schema change of this database
FOLDER = Path(__file__).parents[3] / "migrations"
PHASES = ("system", "core", "reference", "index", "constraint")
TYPES = ("schema", "data")

_NAME = re.compile(r"(?P<timestamp>[1-9][0-9]{12})-(?P<title>[A-Z][A-Za-z0-9]*)")
_HEADER = re.compile(r"^-- (type|phase): (\S+)\s*$", re.MULTILINE)
# Text that is no statement: comments, literals, quoted names, and bodies of functions.
_NO_STATEMENT = re.compile(
    r"--[^\n]*|/\*.*?\*/|'[^']*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|\bbegin\s+atomic\b.*?;\s*end\b",
    re.DOTALL | re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TRANSACTION_CONTROL = re.compile(
    r"(?:^|;)\s*(?:begin|commit|rollback|abort|end|savepoint|release|(?:start|prepare)\s+transaction)\b",
    re.IGNORECASE,
)


class MigrationError(ForeseenError):
    """A migration is invalid, or the ledger and the files differ. The message names it."""


@dataclass(frozen=True, kw_only=True)
class MigrationFile:
    name: str
    timestamp: int
    kind: str
    phase: str
    checksum: str
    up: str = field(repr=False)
    down: str = field(repr=False)

    @property
    def missing(self) -> str | None:
        """The missing part without which it cannot be applied, or None."""
        if not _COMMENT.sub("", self.up).strip("; \t\n"):
            return f"{self.name}.sql has no statement"
        if not self.down.strip():
            return f"{self.name}.rollback.sql is empty: write its statements, or why it has none"
        return None


def read_files(folder: Path = FOLDER) -> list[MigrationFile]:
    """Return the migrations of the folder in their order.

    Raises MigrationError for a file that is misnamed, unpaired, a duplicate or lacks a header.
    """
    ups = sorted(path for path in folder.glob("*") if _is_up(path))
    files = [_read(path) for path in ups]
    if not files:
        raise MigrationError(f"there are no migrations in {folder.name}/")
    for earlier, later in pairwise(files):
        if earlier.timestamp == later.timestamp:
            raise MigrationError(f"{later.name} has the same timestamp as {earlier.name}")
    return files


def _is_up(path: Path) -> bool:
    """Return whether a file is a migration, not a rollback. Raises MigrationError if neither."""
    name, dot, ending = path.name.partition(".")
    if dot + ending not in {".sql", ".rollback.sql"} or not _NAME.fullmatch(name):
        raise MigrationError(
            f"{path.name} is misnamed: thirteen digits, a hyphen, PascalCase, .sql or .rollback.sql"
        )
    pair = path.with_name(name + (".rollback.sql" if ending == "sql" else ".sql"))
    if not pair.exists():
        raise MigrationError(f"{path.name} is unpaired: there is no {pair.name}")
    return ending == "sql"


def _read(path: Path) -> MigrationFile:
    name = path.name.partition(".")[0]
    up, down = (_text(file) for file in (path, path.with_name(f"{name}.rollback.sql")))
    headers = dict(_HEADER.findall(up))
    for header, allowed in (("type", TYPES), ("phase", PHASES)):
        if headers.get(header) not in allowed:
            raise MigrationError(f"{name} needs a line '-- {header}: {'|'.join(allowed)}'")
    return MigrationFile(
        name=name,
        timestamp=int(name.partition("-")[0]),
        kind=headers["type"],
        phase=headers["phase"],
        checksum=hashlib.sha256(f"{up}\0{down}".encode()).hexdigest(),
        up=up,
        down=down,
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith(b"\xef\xbb\xbf"):
        raise MigrationError(f"{path.name} begins with a byte order mark, which PostgreSQL refuses")
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise MigrationError(f"{path.name} is not UTF-8") from None
    if _TRANSACTION_CONTROL.search(_NO_STATEMENT.sub(" ", text)):
        raise MigrationError(f"{path.name} controls transactions; remove that, the runner does it")
    return text


def new_files(title: str, timestamp: int, folder: Path = FOLDER) -> list[Path]:
    """Write the two files of a new migration and return their paths."""
    name = f"{timestamp:013d}-{title}"
    if not _NAME.fullmatch(name):
        raise MigrationError("the name must be PascalCase, for example AddOwnerToFlags")
    pair = [folder / f"{name}.sql", folder / f"{name}.rollback.sql"]
    pair[0].write_text(
        "-- Why this change is made, in one sentence; expand or contract?\n"
        "-- type: schema\n-- phase: core\n"
    )
    pair[1].write_text("")
    return pair
