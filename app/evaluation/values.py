"""Convert and compare values as JavaScript does, because JsonLogic is defined in JavaScript.

The functions follow ECMA-262: sections 7.1 (ToNumber, ToString), 7.2 (IsLooselyEqual, IsLessThan),
6.1.6.1.20 (printing a number) and 19.2.4 (parseFloat). Strings are sequences of code points here,
and of UTF-16 units in JavaScript; only comparing the order of strings respects the difference.

Functions that may read a long string or list take the run, and spend its steps.
"""

import math
import re
from decimal import Decimal
from typing import Any

from app.evaluation.run import Run

NAN = float("nan")
# Beyond this, a double cannot represent every integer.
EXACT_MAX = 2**53
# A longer string is not parsed as a number.
NUMBER_TEXT_MAX = 400
# The steps to parse or print a number.
_NUMBER_STEPS = 5

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)")
_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_INFINITE = {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}
# Python strips other characters: more controls, and no byte order mark.
_WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def is_number(value: Any) -> bool:
    # A bool is not: its type is another one.
    return type(value) in (int, float)


def is_truthy(value: Any) -> bool:
    """Return whether a value is truthy: as in JavaScript, but an empty array is not."""
    if value is True or value is False:
        return value
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return isinstance(value, dict) or bool(value)


def double(number: float) -> float:
    """Convert a number to a double, the only number type of JavaScript."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def to_number(value: Any, run: Run) -> float:
    """Return `Number(value)`."""
    if isinstance(value, int | float):
        return double(value)
    if value is None:
        return 0.0
    if isinstance(value, dict):
        return NAN
    return _number_of_text(value if isinstance(value, str) else to_text(value, run), run)


def parse_float(value: Any, run: Run) -> float:
    """Return `parseFloat(value)`: the number at the start of a string."""
    if value is None or isinstance(value, bool | dict):
        return NAN
    if isinstance(value, int | float):
        # JavaScript converts to a string first, which turns minus zero into 0.
        return double(value) or 0.0
    text = value if isinstance(value, str) else to_text(value, run)
    text = text[:NUMBER_TEXT_MAX].lstrip(_WHITE_SPACE)
    run.spend(_NUMBER_STEPS + len(text) // 8)
    match = _NUMBER.match(text)
    if match is not None:
        return float(match[0])
    return next((number for name, number in _INFINITE.items() if text.startswith(name)), NAN)


def to_text(value: Any, run: Run) -> str:
    """Return `String(value)`."""
    return "null" if value is None else joined_text(value, run)


def joined_text(value: Any, run: Run) -> str:
    """Convert a value as `Array.prototype.join` does: like `String`, but null becomes empty."""
    if isinstance(value, str):
        run.spend_on_text(value)
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        run.spend(len(value))
        return ",".join([joined_text(item, run) for item in value])
    if isinstance(value, dict):
        return "[object Object]"
    run.spend(_NUMBER_STEPS)
    return number_text(value)


def number_text(number: float) -> str:
    """Return a number as JavaScript prints it; bucketing depends on the exact form."""
    if isinstance(number, int) and abs(number) <= EXACT_MAX:
        return str(number)
    number = double(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    # repr gives the shortest digits that identify the double, as JavaScript does.
    text = repr(number)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0")
    if 1e-6 <= abs(number) < 1e21:
        return f"{Decimal(text):f}"
    return f"{mantissa}e{int(exponent):+d}"


def loosely_equal(left: Any, right: Any, run: Run) -> bool:
    """Return `left == right`."""
    if left is None or right is None:
        return left is right
    if isinstance(left, dict | list):
        if isinstance(right, dict | list):
            return left is right
        left = to_text(left, run)
    elif isinstance(right, dict | list):
        right = to_text(right, run)
    if isinstance(left, str) and isinstance(right, str):
        return _same_text(left, right, run)
    return to_number(left, run) == to_number(right, run)


def strictly_equal(left: Any, right: Any, run: Run) -> bool:
    """Return `left === right`."""
    if isinstance(left, str) and isinstance(right, str):
        return _same_text(left, right, run)
    if is_number(left) and is_number(right):
        return double(left) == double(right)
    return left is right


def is_less(left: Any, right: Any, run: Run, *, or_equal: bool = False) -> bool:
    """Return `left < right`, or `left <= right`."""
    left, right = _primitive(left, run), _primitive(right, run)
    if isinstance(left, str) and isinstance(right, str):
        run.spend_on_text(left)
        run.spend_on_text(right)
        if not (left.isascii() and right.isascii()):
            left, right = (t.encode("utf-16-be", "surrogatepass") for t in (left, right))
        return bool(left <= right if or_equal else left < right)
    first, second = to_number(left, run), to_number(right, run)
    return first <= second if or_equal else first < second


def _primitive(value: Any, run: Run) -> Any:
    return to_text(value, run) if isinstance(value, dict | list) else value


def _same_text(left: str, right: str, run: Run) -> bool:
    # Comparing strings of different lengths costs nothing.
    if len(left) == len(right):
        run.spend_on_text(left)
    return left == right


def _number_of_text(text: str, run: Run) -> float:
    if len(text) > NUMBER_TEXT_MAX:
        return NAN
    run.spend(_NUMBER_STEPS + len(text) // 8)
    text = text.strip(_WHITE_SPACE)
    if not text:
        return 0.0
    if _NUMBER.fullmatch(text):
        return float(text)
    radix = _RADIX.get(text[:2].lower())
    return _INFINITE.get(text, NAN) if radix is None else _number_of_digits(text[2:], radix)


def _number_of_digits(digits: str, radix: int) -> float:
    # Python also accepts underscores, signs and digits of other scripts.
    if not (digits.isascii() and digits.isalnum()):
        return NAN
    try:
        return double(int(digits, radix))
    except ValueError:
        return NAN
