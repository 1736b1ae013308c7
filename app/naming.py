"""How the key of an entry may look, for whoever takes one or refers to one."""

import re

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$"
KEY_RULE = (
    "must begin with a letter or a digit, hold only letters, digits and . _ / -, "
    "and have at most 255 characters"
)
_KEY = re.compile(KEY_PATTERN.removesuffix("$"))


def is_key(text: str) -> bool:
    # fullmatch, since $ would let a final line break through.
    return _KEY.fullmatch(text) is not None
