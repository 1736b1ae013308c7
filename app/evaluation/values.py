"""Values as JavaScript sees them, since JsonLogic is defined by an implementation in that language.

Conversions and comparisons follow ECMA-262: sections 7.1 (ToNumber, ToString), 7.2 (IsLooselyEqual,
IsLessThan), 6.1.6.1.20 (how a number is printed) and 19.2.4 (parseFloat). Texts are sequences of
code points here and of UTF-16 units there; only where order depends on it is that looked at.

What may read a long text or list is given the run, which pays for it.
"""

import math
import re
from decimal import Decimal
from typing import Any

from app.evaluation.run import Run

NAN = float("nan")
# Beyond this every other integer is no double.
EXACT_MAX = 2**53
# A longer text is not looked at as a number; none is meant then.
NUMBER_TEXT_MAX = 400
# What a number costs to read or to print, in steps.
_NUMBER_STEPS = 5

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)")
_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_INFINITE = {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}
# Not what Python strips: it knows some controls more, and no byte order mark.
_WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_truthy(value: Any) -> bool:
    """Tell whether a value counts as true: as in JavaScript, but for empty arrays, which do not."""
    if value is True or value is False:
        return value
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return isinstance(value, dict) or bool(value)


def double(number: float) -> float:
    """Return a number as a double, as JavaScript has no other."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def to_number(value: Any, run: Run) -> float:
    """Return what `Number(value)` is."""
    if isinstance(value, int | float):
        return double(value)
    if value is None:
        return 0.0
    if isinstance(value, dict):
        return NAN
    return _number_of_text(value if isinstance(value, str) else to_text(value, run), run)


def parse_float(value: Any, run: Run) -> float:
    """Return what `parseFloat(value)` is: the number that a text begins with."""
    if value is None or isinstance(value, bool | dict):
        return NAN
    if isinstance(value, int | float):
        # It is a text in between, in which minus zero is 0.
        return double(value) or 0.0
    text = value if isinstance(value, str) else to_text(value, run)
    text = text[:NUMBER_TEXT_MAX].lstrip(_WHITE_SPACE)
    run.spend(_NUMBER_STEPS + len(text) // 8)
    match = _NUMBER.match(text)
    if match is not None:
        return float(match[0])
    return next((number for name, number in _INFINITE.items() if text.startswith(name)), NAN)


def to_text(value: Any, run: Run) -> str:
    """Return what `String(value)` is."""
    return "null" if value is None else joined_text(value, run)


def joined_text(value: Any, run: Run) -> str:
    """Return a value as `Array.prototype.join` puts it in: like `String`, but null is nothing."""
    if isinstance(value, str):
        run.read(value)
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        run.spend(len(value))
        return ",".join([joined_text(each, run) for each in value])
    if isinstance(value, dict):
        return "[object Object]"
    run.spend(_NUMBER_STEPS)
    return number_text(value)


def number_text(number: float) -> str:
    """Return a number as JavaScript prints it: buckets depend on it."""
    if isinstance(number, int) and abs(number) <= EXACT_MAX:
        return str(number)
    number = double(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    # The shortest digits that name this double, in both languages.
    text = repr(number)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0")
    if 1e-6 <= abs(number) < 1e21:
        return f"{Decimal(text):f}"
    return f"{mantissa}e{int(exponent):+d}"


def loosely_equal(left: Any, right: Any, run: Run) -> bool:
    """Return what `left == right` is."""
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
    """Return what `left === right` is."""
    if isinstance(left, str) and isinstance(right, str):
        return _same_text(left, right, run)
    if is_number(left) and is_number(right):
        return double(left) == double(right)
    return left is right


def is_less(left: Any, right: Any, run: Run, *, or_equal: bool = False) -> bool:
    """Return what `left < right` is, or `left <= right`."""
    left, right = _primitive(left, run), _primitive(right, run)
    if isinstance(left, str) and isinstance(right, str):
        run.read(left)
        run.read(right)
        if not (left.isascii() and right.isascii()):
            left, right = (t.encode("utf-16-be", "surrogatepass") for t in (left, right))
        return bool(left <= right if or_equal else left < right)
    first, second = to_number(left, run), to_number(right, run)
    return first <= second if or_equal else first < second


def _primitive(value: Any, run: Run) -> Any:
    return to_text(value, run) if isinstance(value, dict | list) else value


def _same_text(left: str, right: str, run: Run) -> bool:
    # Texts of different lengths differ at once.
    if len(left) == len(right):
        run.read(left)
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
    # Python also takes underscores, signs and digits of other scripts.
    if not (digits.isascii() and digits.isalnum()):
        return NAN
    try:
        return double(int(digits, radix))
    except ValueError:
        return NAN
