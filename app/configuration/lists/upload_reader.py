"""Read the values of an uploaded file, piece by piece: CSV or NDJSON.

A line of CSV has a value and, optionally, its expiry; a first line `value` or `value,expires_at` is
a header. A line of NDJSON is a string, or an object with `value` and `expires_at`.
"""

import codecs
import csv
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from app.configuration.list_data.digest import Element
from app.configuration.lists.values import (
    ListValue,
    ValueRuleError,
    checked_value,
    expiry_of,
    read_expiry,
)
from app.errors import Invalid, Violation

_LINE_LENGTH_MAX = 4_096
_COLUMNS_RULE = "must be a value, and an expiry after a comma at most; quote a value with a comma"
_LINE_RULE = 'must be a JSON string, or an object with "value" and perhaps "expires_at"'


class UploadFormat(StrEnum):
    CSV = "text/csv"
    NDJSON = "application/x-ndjson"


class UploadReader:
    """Turns the pieces of a file into values. Errors name the line, and never its text."""

    def __init__(self, format_: UploadFormat) -> None:
        self._read_line = _read_csv if format_ is UploadFormat.CSV else _read_json
        self._is_csv = format_ is UploadFormat.CSV
        self._text = codecs.getincrementaldecoder("utf-8-sig")()
        self._rest = ""
        self._line = 0

    def read(self, piece: bytes, *, is_last: bool = False) -> list[Element]:
        """Return the values of the lines that end in this piece. Raises Invalid."""
        try:
            text = self._rest + self._text.decode(piece, final=is_last)
        except UnicodeDecodeError:
            raise self._broken("must be UTF-8", ahead=1) from None
        lines = text.split("\n")
        self._rest = "" if is_last else lines.pop()
        if len(self._rest) > _LINE_LENGTH_MAX:
            raise self._broken("is too long", ahead=len(lines) + 1)
        return list(self._elements(lines))

    def _elements(self, lines: list[str]) -> Iterator[Element]:
        for line in lines:
            self._line += 1
            text = line.removesuffix("\r")
            if not text or (self._is_csv and self._line == 1 and _is_header(text)):
                continue
            try:
                yield self._read_line(text)
            except ValueRuleError as error:
                raise self._broken(str(error)) from None

    def _broken(self, rule: str, *, ahead: int = 0) -> Invalid:
        return Invalid.of("list_invalid", [Violation(f"line {self._line + ahead}", rule)])


def _is_header(text: str) -> bool:
    return text in {"value", "value,expires_at"}


def _read_csv(text: str) -> Element:
    if '"' not in text:
        cells = text.split(",")
    else:
        try:
            (cells,) = csv.reader([text], strict=True)
        except (csv.Error, ValueError):
            raise ValueRuleError(_COLUMNS_RULE) from None
    if not 1 <= len(cells) <= 2:
        raise ValueRuleError(_COLUMNS_RULE)
    return checked_value(cells[0]), read_expiry(cells[1]) if len(cells) == 2 else None


_decode = msgspec.json.Decoder(str | ListValue).decode


def _read_json(text: str) -> Element:
    try:
        item = _decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        raise ValueRuleError(_LINE_RULE) from None
    if isinstance(item, str):
        return checked_value(item), None
    return checked_value(item.value), expiry_of(item.expires_at)
