"""Patterns for keys and for names of environments, and lists and counts for people."""

import re
from collections.abc import Sequence

# A segment is the text between slashes. URL libraries drop an empty segment and resolve "." and
# "..". A client that asks for such a key would get the answer for another key.
_SEGMENT = r"(?:\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\.\.[A-Za-z0-9._-]+)"
KEY_LENGTH_MAX = 255
KEY_PATTERN = rf"^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/{_SEGMENT})*$"
KEY_RULE = (
    "must begin with a letter, a digit or _, hold only letters, digits and . _ / -, "
    f"have at most {KEY_LENGTH_MAX} characters, and have no segment between slashes that is empty, "
    ". or .."
)
# The rule of the database. Earlier releases stored keys with empty segments, "." and "..".
STORED_KEY_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$"
PREFIX_RULE = (
    "must be empty for all keys, or begin with a letter, a digit or _, hold only letters, digits "
    f"and . _ / -, and have at most {KEY_LENGTH_MAX} characters"
)
ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
ENVIRONMENT_RULE = (
    "must begin with a lower-case letter, hold only lower-case letters, digits and -, "
    "and have at most 63 characters"
)
# The prefixes of one request, token or protection.
PREFIXES_MAX = 100
_KEY = re.compile(KEY_PATTERN.removesuffix("$"))
_STORED_KEY = re.compile(STORED_KEY_PATTERN.removesuffix("$"))
_ENVIRONMENT = re.compile(ENVIRONMENT_PATTERN.removesuffix("$"))


def is_key(text: str) -> bool:
    """Return whether a new entry may have this key."""
    # fullmatch, since $ also matches before a final line break.
    return len(text) <= KEY_LENGTH_MAX and _KEY.fullmatch(text) is not None


def is_stored_key(text: str) -> bool:
    """Return whether an entry may exist under this key: to read, delete or restore it."""
    return _STORED_KEY.fullmatch(text) is not None


def is_prefix(text: str) -> bool:
    """Return whether an entry may exist whose key begins with the text."""
    return text == "" or is_stored_key(text)


def prefixes_rule(prefixes: Sequence[str]) -> str | None:
    """Return the rule that the prefixes of one request break, None if they break none."""
    if len(prefixes) > PREFIXES_MAX:
        return f"must have at most {PREFIXES_MAX} items"
    return None if all(map(is_prefix, prefixes)) else f"each {PREFIX_RULE}"


def is_environment(text: str) -> bool:
    return _ENVIRONMENT.fullmatch(text) is not None


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return the count with the noun, such as "1 entry" or "2 entries"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_words(words: Sequence[str], shown_max: int) -> str:
    """Return the first words of a list and the number of others, such as "a, b and 3 more"."""
    others = len(words) - shown_max
    text = ", ".join(words[:shown_max])
    return f"{text} and {others} more" if others > 0 else text


def joined_words(words: Sequence[str]) -> str:
    """Return a list for people, such as "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
