"""Values as JavaScript sees them, since JsonLogic is defined by an implementation in that language.

Conversions and comparisons follow ECMA-262: sections 7.1 (ToNumber, ToString), 7.2 (IsLooselyEqual,
IsLessThan), 6.1.6.1.20 (how a number is printed) and 19.2.4 (parseFloat). Texts are sequences of
code points here and of UTF-16 units there; only where order depends on it is that looked at.
"""

import math
import re
from decimal import Decimal
from typing import Any

NAN = float("nan")
# Beyond this a text is not looked at as a number, and a list not as a text: neither is meant then.
NUMBER_TEXT_MAX = 400
LIST_TEXT_MAX = 1_000

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)")
_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_INFINITE = {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}
_EXACT_MAX = 2**53


class RuleError(Exception):
    """A rule cannot be compiled, or cannot be run with this context; the text may be shown."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_truthy(value: Any) -> bool:
    """Tell whether a value counts as true: as in JavaScript, but for empty arrays, which do not."""
    if value is True or value is False:
        return value
    if isinstance(value, dict):
        return True
    return bool(value) and value == value  # noqa: PLR0124 - NaN


def to_number(value: Any) -> float:
    """Return what `Number(value)` is."""
    if isinstance(value, int | float):
        return value
    if value is None:
        return 0
    if isinstance(value, dict):
        return NAN
    return _number_of_text(value if isinstance(value, str) else to_text(value))


def parse_float(value: Any) -> float:
    """Return what `parseFloat(value)` is: the number that a text begins with."""
    if is_number(value):
        return float(value) if abs(value) > _EXACT_MAX else value
    if value is None or isinstance(value, bool | dict):
        return NAN
    text = (value if isinstance(value, str) else to_text(value)).lstrip()[:NUMBER_TEXT_MAX]
    match = _NUMBER.match(text)
    if match is not None:
        return float(match[0])
    return next((number for name, number in _INFINITE.items() if text.startswith(name)), NAN)


def to_text(value: Any) -> str:
    """Return what `String(value)` is. Raises RuleError for a list that is too long."""
    if isinstance(value, str):
        return value
    return "null" if value is None else joined_text(value)


def joined_text(value: Any) -> str:
    """Return a value as `Array.prototype.join` puts it in: like `String`, but null is nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        if len(value) > LIST_TEXT_MAX:
            raise RuleError("a list is too long to be a text")
        return ",".join(map(joined_text, value))
    return "[object Object]" if isinstance(value, dict) else number_text(value)


def number_text(number: float) -> str:
    """Return a number as JavaScript prints it: buckets depend on it."""
    if isinstance(number, int) and abs(number) <= _EXACT_MAX:
        return str(number)
    number = float(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number.is_integer() and abs(number) < 1e21:
        return _shortest_integer(number)
    text = repr(number)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    if int(exponent) > -7 and abs(number) < 1:
        return f"{Decimal(text):f}"
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def loosely_equal(left: Any, right: Any) -> bool:
    """Return what `left == right` is."""
    if left is None or right is None:
        return left is right
    if isinstance(left, dict | list):
        if isinstance(right, dict | list):
            return left is right
        left = to_text(left)
    elif isinstance(right, dict | list):
        right = to_text(right)
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return to_number(left) == to_number(right)


def strictly_equal(left: Any, right: Any) -> bool:
    """Return what `left === right` is."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return left is right
    return isinstance(left, str) is isinstance(right, str) and bool(left == right)


def is_less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """Return what `left < right` is, or `left <= right`."""
    left, right = _primitive(left), _primitive(right)
    if isinstance(left, str) and isinstance(right, str):
        if not (left.isascii() and right.isascii()):
            left, right = (t.encode("utf-16-be", "surrogatepass") for t in (left, right))
        return bool(left <= right if or_equal else left < right)
    first, second = to_number(left), to_number(right)
    return first <= second if or_equal else first < second


def _primitive(value: Any) -> Any:
    return to_text(value) if isinstance(value, dict | list) else value


def _number_of_text(text: str) -> float:  # noqa: PLR0911 - one for each notation
    text = text.strip()
    if not text:
        return 0
    if len(text) > NUMBER_TEXT_MAX:
        return NAN
    if _NUMBER.fullmatch(text):
        return float(text)
    if text in _INFINITE:
        return _INFINITE[text]
    radix = _RADIX.get(text[:2].lower())
    digits = text[2:]
    if radix is None or not digits.isalnum():
        return NAN
    try:
        return float(int(digits, radix))
    except (ValueError, OverflowError):
        return NAN


def _shortest_integer(number: float) -> str:
    """Return an integer's shortest digits that name this double, filled up with zeros."""
    digits, _, exponent = f"{Decimal(repr(number)):e}".partition("e")
    digits = digits.replace(".", "")
    sign = "-" if digits.startswith("-") else ""
    digits = digits.removeprefix("-")
    text = (digits + "0" * (int(exponent or 0) + 1 - len(digits)))[: int(exponent or 0) + 1]
    return sign + text if text.strip("0") else "0"
