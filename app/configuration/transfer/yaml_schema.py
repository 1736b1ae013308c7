"""Plain scalars of YAML: the core schema of version 1.2, and the differences of version 1.1.

Most readers still follow YAML 1.1, in which NO is false and 1e3 is a string. So a file that means
something else in YAML 1.1 is read with warnings, and is never written.
"""

import re

NULL = re.compile(r"~|null|Null|NULL|")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# In this order, since the pattern of floats matches integers too.
TYPES = (("null", NULL), ("bool", BOOLEAN), ("int", INTEGER), ("float", FLOAT))

_EXPONENT = r"(?:[eE][-+]?[0-9]+)?"
# The type in YAML 1.2, the type in YAML 1.1 (whose readers differ), and the pattern.
_DIFFERENCES = (
    ("a string", "a boolean", r"[yYnN]|(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)"),
    ("a decimal number", "an octal number or a string", r"[-+]?0[0-9]+"),
    ("an octal number", "a string", r"0o[0-7]+"),
    ("a number", "a string", r"[-+]?[0-9]+[eE][-+]?[0-9]+"),
    ("a number", "a string", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)[eE][0-9]+|[-+]\.[0-9]+"),
    ("a string", "a number", r"[-+]?0b[01_]+|[-+]0o[0-7]+"),
    ("a string", "a number", r"[-+]0x[0-9a-fA-F_]+|0x[0-9a-fA-F]*_[0-9a-fA-F_]*"),
    ("a string", "a number", rf"[-+]?[0-9]*_[0-9_]*(?:\.[0-9_]*)?{_EXPONENT}"),
    ("a string", "a number", rf"[-+]?[0-9]*\.[0-9]*_[0-9_]*{_EXPONENT}"),
    ("a string", "a number", r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
    ("a string", "a date", r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"),
    ("a string", "a special value", r"="),
)
DIFFERENT = re.compile("|".join(f"({pattern})" for _, _, pattern in _DIFFERENCES))
# A longer scalar is a string in both versions, and the limit keeps the patterns fast.
_LENGTH_MAX = 100


def anchored(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Return the pattern with an end anchor, since PyYAML's resolver matches prefixes."""
    return re.compile(rf"(?:{pattern.pattern})\Z", pattern.flags)


def difference(text: str) -> str | None:
    """Return how YAML 1.1 reads a plain scalar differently, or None."""
    match = DIFFERENT.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if match is None or match.lastindex is None:
        return None
    type_12, type_11, _ = _DIFFERENCES[match.lastindex - 1]
    return f"{type_12} here, but {type_11} in YAML 1.1"
