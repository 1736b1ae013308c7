"""Read `multipart/form-data`, which browsers send for a form with a file (RFC 7578).

The body is in memory already, within its limits. Our own reader, because those of the libraries
read a stream, or take seconds for 16 MiB.
"""

import re
from email.message import Message
from typing import NamedTuple

from app.errors import malformed

CONTENT_TYPE = "multipart/form-data"
PARTS_MAX = 50
_HEADER_BYTES_MAX = 8 * 1024
_PARAMETER = re.compile(r'\b(name|filename)="([^"\r\n]*)"')
# The only characters that browsers escape.
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}
_RULE = "must be a form as browsers send it"


class FormPart(NamedTuple):
    """A field of a form. `filename` is None for a field without a file."""

    name: str
    filename: str | None
    content: bytes


def read_multipart(raw: bytes, content_type: str) -> list[FormPart]:
    """Return the parts in their order. Raises Malformed."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise malformed("body", _RULE)
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    first, *pieces = (b"\r\n" + raw).split(delimiter, PARTS_MAX + 1)
    if first or not pieces or not pieces[-1].startswith(b"--"):
        raise malformed("body", f"{_RULE}, with at most {PARTS_MAX} fields")
    return [_part(piece) for piece in pieces[:-1]]


def _part(piece: bytes) -> FormPart:
    end = piece.find(b"\r\n\r\n", 0, _HEADER_BYTES_MAX)
    if end < 0:
        raise malformed("body", _RULE)
    head = piece[:end].decode(errors="replace")
    parameters = {name: _unescaped(text) for name, text in _PARAMETER.findall(head)}
    if "name" not in parameters:
        raise malformed("body", _RULE)
    return FormPart(parameters["name"], parameters.get("filename"), piece[end + 4 :])


def _unescaped(text: str) -> str:
    for escaped, plain in _ESCAPED.items():
        text = text.replace(escaped, plain)
    return text
