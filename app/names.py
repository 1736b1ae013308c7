"""How keys, the names of environments, and numbers of things are written."""

import re

# A segment is what stands between slashes. URL libraries drop an empty one and resolve "." and
# "..", so a client that asks for such a key gets another key's answer.
_SEGMENT = r"(?:\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\.\.[A-Za-z0-9._-]+)"
KEY_LENGTH_MAX = 255
KEY_PATTERN = rf"^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/{_SEGMENT})*$"
KEY_RULE = (
    "must begin with a letter, a digit or _, hold only letters, digits and . _ / -, "
    f"have at most {KEY_LENGTH_MAX} characters, and have no segment between slashes that is empty, "
    ". or .."
)
# The database's own rule. Keys with the segments above were stored by earlier releases.
STORED_KEY_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$"
ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
ENVIRONMENT_RULE = (
    "must begin with a lower-case letter, hold only lower-case letters, digits and -, "
    "and have at most 63 characters"
)
_KEY = re.compile(KEY_PATTERN.removesuffix("$"))
_STORED_KEY = re.compile(STORED_KEY_PATTERN.removesuffix("$"))
_ENVIRONMENT = re.compile(ENVIRONMENT_PATTERN.removesuffix("$"))


def is_key(text: str) -> bool:
    """Tell whether a new entry may have this key."""
    # fullmatch, since $ would let a final line break through.
    return len(text) <= KEY_LENGTH_MAX and _KEY.fullmatch(text) is not None


def is_stored_key(text: str) -> bool:
    """Tell whether an entry may exist under this key: for reading, deleting and bringing back."""
    return _STORED_KEY.fullmatch(text) is not None


def is_environment(text: str) -> bool:
    return _ENVIRONMENT.fullmatch(text) is not None


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things: "1 entry", "2 entries"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
