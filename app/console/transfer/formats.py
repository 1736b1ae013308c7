"""Find the format of a file by its name, or of a text by its content."""

import re
from pathlib import PurePosixPath

from app.configuration.transfer.document_reader import format_of
from app.configuration.transfer.documents import Format
from app.errors import Invalid

# The first line that is neither empty nor a comment.
_FIRST_LINE = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*([^\r\n]*)")
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
    first = _FIRST_LINE.match(raw)
    line = first[1] if first else b""
    if line.startswith((b"{", b"[")):
        return Format.JSON
    return Format.ENV if _BINDING.match(line) else Format.YAML
