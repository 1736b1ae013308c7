"""How keys and the names of environments may look, for whoever takes one or refers to one."""

import re

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$"
KEY_RULE = (
    "must begin with a letter or a digit, hold only letters, digits and . _ / -, "
    "and have at most 255 characters"
)
ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
ENVIRONMENT_RULE = (
    "must begin with a lower-case letter, hold only lower-case letters, digits and -, "
    "and have at most 63 characters"
)
_KEY = re.compile(KEY_PATTERN.removesuffix("$"))
_ENVIRONMENT = re.compile(ENVIRONMENT_PATTERN.removesuffix("$"))


def is_key(text: str) -> bool:
    # fullmatch, since $ would let a final line break through.
    return _KEY.fullmatch(text) is not None


def is_environment(text: str) -> bool:
    return _ENVIRONMENT.fullmatch(text) is not None
