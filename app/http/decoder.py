"""The decoder of all JSON from clients, strict where PostgreSQL, Python and RFC 8259 differ.

Python accepts NaN and duplicate names. PostgreSQL refuses NUL and lone surrogates. jsonb stores
1e400, which Python reads as infinity. JavaScript rounds integers beyond 2^53. This decoder refuses
every value that one of them would change or refuse.
"""

import json
import math
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import msgspec

from app.errors import Invalid, TooLarge, Violation, invalid, malformed
from app.http.stepwise import load_json, text_of

BODY_BYTES_MAX = 1024 * 1024
# The limit of evaluation bodies: contexts are small, and every user of a web page may send one.
CONTEXT_BYTES_MAX = 256 * 1024
VALUE_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32
# The list of a segment rule may have 10,000 values; the rest of the entry needs room too.
NODES_MAX = 12_000
_SURROGATE = re.compile("[\ud800-\udfff]")
# The limit of non-ASCII names: normalizing a million characters takes 20 ms.
NAME_CHARACTERS_MAX = 10_000
SLICE_BYTES = 64 * 1024
INTEGER_MAX = 2**53
TIME_RULE = "must be within the years 1 to 9999, in UTC too"

Shape = TypeVar("Shape")


def decode(raw: bytes, shape: type[Shape]) -> Shape:
    """Return the document. Raises Malformed if it is not such JSON, Invalid for another type."""
    document = parse(raw)
    try:
        decoded = msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise Invalid.of("field_invalid", [violation_of(error)]) from None
    for name in getattr(decoded, "__struct_fields__", ()):
        if isinstance(value := getattr(decoded, name), datetime) and not is_in_range(value):
            raise invalid(name, TIME_RULE)
    return decoded


def is_in_range(time: datetime) -> bool:
    """Return whether a time is within the years 1 to 9999 in UTC, as PostgreSQL needs."""
    try:
        time.astimezone(UTC)
    except OverflowError:
        return False
    return True


def parse(
    raw: bytes, *, nodes_max: int = NODES_MAX, depth_max: int = DEPTH_MAX, root: str = "body"
) -> Any:
    """Return a JSON document as Python values. Raises Malformed, which names position and rule."""
    try:
        text = text_of(raw)
    except UnicodeDecodeError:
        raise malformed(root, "must be UTF-8") from None
    check_count(raw, nodes_max, root)
    try:
        document = load_json(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise malformed(root, f"must not nest deeper than {depth_max}") from None
    except json.JSONDecodeError as error:
        rule = f"must be JSON; {error.msg} at line {error.lineno}, column {error.colno}"
        raise malformed(root, rule) from None
    check_nodes(document, nodes_max=nodes_max, depth_max=depth_max, root=root)
    return document


def check_count(raw: bytes, nodes_max: int, root: str = "body") -> None:
    """Refuse JSON with too many values before building them. Raises Malformed.

    Building a million values takes 100 ms and blocks the event loop. This function counts with
    `bytes` methods, in slices that take about 1 ms each.
    """
    # A value takes at least two bytes: its own and a separator.
    if len(raw) <= 2 * nodes_max:
        return
    count, inside, is_escaped, last = 1, False, False, b""
    for start in range(0, len(raw), SLICE_BYTES):
        text = raw[start + is_escaped : start + SLICE_BYTES].replace(b"\\\\", b"")
        is_escaped = text.endswith(b"\\")
        parts = text.replace(b'\\"', b"").split(b'"')
        # Replace each string by a quote, so that [""] does not look like [].
        outside = last + b'"'.join(parts[inside::2]).translate(None, b" \t\r\n")
        inside ^= len(parts) % 2 == 0
        count += sum(map(outside.count, (b",", b"[", b"{")))
        count -= sum(map(outside.count, (b"[]", b"{}")))
        last = b'"' if inside else outside[-1:]
        count -= last in {b",", b"[", b"{"}
        if count > nodes_max:
            raise malformed(root, f"must not have more than {nodes_max} values")


def check_nodes(
    document: Any, *, nodes_max: int = NODES_MAX, depth_max: int = DEPTH_MAX, root: str = "body"
) -> None:
    """Refuse deep or large documents, and strings that cannot be stored. Raises Malformed."""
    count = 1
    pending = [(root, document, 0)]
    while pending:
        path, node, depth = pending.pop()
        if isinstance(node, str):
            _check_text(path, node)
        if not isinstance(node, dict | list):
            continue
        count += len(node)
        if count > nodes_max:
            raise malformed(root, f"must not have more than {nodes_max} values")
        if node and depth == depth_max:
            raise malformed(root, f"must not nest deeper than {depth_max}")
        if isinstance(node, dict):
            for key in node:
                _check_text(path, key, is_name=True)
            pending += [
                (f"{path}.{key}"[:200], child, depth + 1)
                for key, child in node.items()
                if not _is_plain(child)
            ]
        else:
            # Only values that need a check get a path, because paths of long lists are costly.
            pending += [
                (f"{path}[{position}]", child, depth + 1)
                for position, child in enumerate(node)
                if not _is_plain(child)
            ]


def check_value_size(value: Any, field: str) -> None:
    """Refuse a value that is larger than 256 KiB as JSON. Raises TooLarge."""
    if len(msgspec.json.encode(value)) > VALUE_BYTES_MAX:
        rule = f"must not be larger than {VALUE_BYTES_MAX} bytes as JSON"
        raise TooLarge.of("value_too_large", [Violation(field, rule)])


def _is_plain(value: Any) -> bool:
    """Return whether a value needs no further check."""
    if isinstance(value, str):
        return value.isascii() and "\0" not in value
    return not isinstance(value, dict | list)


def _check_text(path: str, text: str, *, is_name: bool = False) -> None:
    if text.isascii() and "\0" not in text:
        return
    subject = "a name" if is_name else "the text"
    if is_name and len(text) > NAME_CHARACTERS_MAX:
        raise malformed(path, f"a name must not be longer than {NAME_CHARACTERS_MAX} characters")
    if "\0" in text:
        raise malformed(path, f"{subject} must not contain NUL")
    if _SURROGATE.search(text):
        raise malformed(path, f"{subject} must not contain a lone surrogate")
    if is_name and not unicodedata.is_normalized("NFC", text):
        raise malformed(path, "a name must be in Unicode's normal form C")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise malformed("body", "must not repeat a name within an object")
    return members


def _no_constant(_: str) -> NoReturn:
    raise malformed("body", "must not contain NaN or Infinity")


def _finite(text: str) -> float:
    _check_digits(text)
    number = float(text)
    # A tiny number becomes zero, a huge one infinity.
    underflows = number == 0 and any(digit in "123456789" for digit in text.lower().split("e")[0])
    if underflows or not math.isfinite(number):
        raise malformed("body", "must not contain a number beyond the range of a double")
    return number


def _integer(text: str) -> int:
    _check_digits(text)
    # Check the length first: int() takes quadratic time.
    if len(text) > 17 or abs(int(text)) > INTEGER_MAX:
        raise malformed("body", "must not contain an integer beyond 2^53; send it as a string")
    return int(text)


def _check_digits(text: str) -> None:
    # Python's JSON scanner accepts the digits of every script.
    if not text.isascii():
        raise malformed("body", "must be JSON; a number must have ASCII digits")


def violation_of(error: msgspec.ValidationError) -> Violation:
    """Return the broken rule and its field, without the value that the client sent."""
    rule, _, path = str(error).partition(" - at `")
    field = path.rstrip("`").removeprefix("$").lstrip(".") or "body"
    # "Invalid enum value 'x'" repeats the sent value. All other texts of msgspec name types only.
    if rule.startswith(("Invalid enum value", "Invalid value")):
        rule = "must be one of the allowed values"
    # The member that selects the type of an object, such as `op`, is named by Python's type.
    rule = rule.replace("`NoneType`", "`null`")
    return Violation(field, rule[:1].lower() + rule[1:])
