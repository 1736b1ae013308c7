"""Decoding of long texts in steps, so that a thread does not block the event loop.

A thread releases the interpreter between Python instructions, but not within a C call. One call
that decodes or scans 16 MiB blocks the event loop for up to 250 ms.
"""

import codecs
import json
import json.scanner
from typing import Any

# One call takes a few milliseconds up to this size.
QUICK_BYTES = 1024 * 1024
STEP_BYTES = 256 * 1024


def text_of(raw: bytes, encoding: str = "utf-8") -> str:
    """Return the text. Raises UnicodeDecodeError."""
    if len(raw) <= QUICK_BYTES:
        return raw.decode(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    starts = range(0, len(raw), STEP_BYTES)
    parts = [decoder.decode(raw[start : start + STEP_BYTES]) for start in starts]
    return "".join([*parts, decoder.decode(b"", final=True)])


def load_json(text: str, **hooks: Any) -> Any:
    """Decode JSON like `json.loads`. Long texts use a Python scanner, which is 10 times slower."""
    if len(text) <= QUICK_BYTES:
        return json.loads(text, **hooks)
    return _Decoder(**hooks).decode(text)


class _Decoder(json.JSONDecoder):
    def __init__(self, **hooks: Any) -> None:
        super().__init__(**hooks)
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


class Stream:
    """A text as a file object, which libyaml reads in parts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def read(self, size: int = STEP_BYTES, /) -> str:
        part = self._text[self._position : self._position + size]
        self._position += len(part)
        return part
