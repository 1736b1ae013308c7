"""Find the format of a file by its name, or of a text by its content."""

import re
from codecs import BOM_UTF8
from pathlib import PurePosixPath

from app.configuration.transfer.document_reader import format_of
from app.configuration.transfer.documents import Format
from app.errors import Invalid

# The start of a text decides. Reading 16 MiB of empty lines would block the event loop.
_START_BYTES = 16 * 1024
_BINDING = re.compile(rb"(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_.]*[ \t]*=")

NAMES = {
    Format.JSON: "JSON",
    Format.YAML: "YAML",
    Format.FLAGD: "flagd",
    Format.ENV: ".env",
}


def find_format(filename: str, raw: bytes) -> Format:
    """Return the format that the name says, else the one that the content looks like.

    A flagd document is found among JSON and YAML by its reader.
    """
    try:
        return format_of(PurePosixPath(filename))
    except Invalid:
        pass
    line = _first_line(raw[:_START_BYTES].removeprefix(BOM_UTF8))
    if line.startswith((b"{", b"[")):
        return Format.JSON
    return Format.ENV if _BINDING.match(line) else Format.YAML


def _first_line(start: bytes) -> bytes:
    """Return the first line that is neither empty nor a comment."""
    lines = map(bytes.strip, start.splitlines())
    return next((line for line in lines if line and not line.startswith(b"#")), b"")
