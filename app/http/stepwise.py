"""Reading long texts in steps, so that the event loop gets its turn beside a thread.

A thread gives up the interpreter between two steps of Python, and never within a call of C: to
decode or scan 16 MiB in one call holds the event loop for up to a quarter of a second.
"""

import codecs
import json
import json.scanner
from typing import Any

# Up to here one call takes a few milliseconds.
QUICK_BYTES = 1024 * 1024
_STEP_BYTES = 256 * 1024


def text_of(raw: bytes, encoding: str = "utf-8") -> str:
    """Return the text. Raises UnicodeDecodeError."""
    if len(raw) <= QUICK_BYTES:
        return raw.decode(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    starts = range(0, len(raw), _STEP_BYTES)
    parts = [decoder.decode(raw[start : start + _STEP_BYTES]) for start in starts]
    return "".join([*parts, decoder.decode(b"", final=True)])


def load_json(text: str, **hooks: Any) -> Any:
    """Do as `json.loads` does; a long text is read by Python, in ten times the time."""
    if len(text) <= QUICK_BYTES:
        return json.loads(text, **hooks)
    return _Decoder(**hooks).decode(text)


class _Decoder(json.JSONDecoder):
    def __init__(self, **hooks: Any) -> None:
        super().__init__(**hooks)
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


class Stream:
    """A text as a file that libyaml reads in parts, and which is Python."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def read(self, size: int = _STEP_BYTES, /) -> str:
        part = self._text[self._place : self._place + size]
        self._place += len(part)
        return part
