"""What a plain scalar means: by the core schema of YAML 1.2, and where YAML 1.1 differs.

Most readers still follow YAML 1.1, in which NO is false and 1e3 is a text. So a file that says
something else to them is read with warnings, and is never written.
"""

import re

NULL = re.compile(r"~|null|Null|NULL|")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# In this order: an integer is a float as well.
TYPES = (("null", NULL), ("bool", BOOLEAN), ("int", INTEGER), ("float", FLOAT))

_EXPONENT = r"(?:[eE][-+]?[0-9]+)?"
# What it is to YAML 1.2, and what it is to YAML 1.1, whose readers differ among themselves.
_DIFFERENCES = (
    ("a text", "a boolean", r"[yYnN]|(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)"),
    ("a decimal number", "an octal number or a text", r"[-+]?0[0-9]+"),
    ("an octal number", "a text", r"0o[0-7]+"),
    ("a number", "a text", r"[-+]?[0-9]+[eE][-+]?[0-9]+"),
    ("a number", "a text", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)[eE][0-9]+|[-+]\.[0-9]+"),
    ("a text", "a number", r"[-+]?0b[01_]+|[-+]0o[0-7]+"),
    ("a text", "a number", r"[-+]0x[0-9a-fA-F_]+|0x[0-9a-fA-F]*_[0-9a-fA-F_]*"),
    ("a text", "a number", rf"[-+]?[0-9]*_[0-9_]*(?:\.[0-9_]*)?{_EXPONENT}"),
    ("a text", "a number", rf"[-+]?[0-9]*\.[0-9]*_[0-9_]*{_EXPONENT}"),
    ("a text", "a number", r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
    ("a text", "a date", r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"),
    ("a text", "a special value", r"="),
)
DIFFERENT = re.compile("|".join(f"({pattern})" for _, _, pattern in _DIFFERENCES))
# A longer text is the same to both, and this keeps the patterns quick.
_LENGTH_MAX = 100


def anchored(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Return the pattern as the resolver of PyYAML needs it, which matches beginnings."""
    return re.compile(rf"(?:{pattern.pattern})\Z", pattern.flags)


def difference(text: str) -> str | None:
    """Return how YAML 1.1 takes a plain scalar differently, None if it does not."""
    match = DIFFERENT.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if match is None or match.lastindex is None:
        return None
    here, there, _ = _DIFFERENCES[match.lastindex - 1]
    return f"{here} here, and {there} to readers of YAML 1.1"
