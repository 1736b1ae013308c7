"""The fingerprint of the schema, and the differences between two lists of facts.

It works on every server. It also shows what a superuser changed while the recording was disabled.
"""

import hashlib
from collections.abc import Iterable

# Every setting that changes how PostgreSQL prints definitions, for the transaction that reads them.
PRINT_SETTINGS = (
    "set local search_path = pg_catalog, pg_temp; set local quote_all_identifiers = off; "
    "set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; "
    "set local intervalstyle = 'postgres'; set local extra_float_digits = 1; "
    "set local bytea_output = 'hex'; set local lc_monetary = 'C'; "
    "set local standard_conforming_strings = on"
)
# Part of every list of facts. Raise it if `list_schema_facts` prints the same schema differently: a
# release must not report the wording of another release as drift.
WORDING = "wording 2"
_SHOWN_MAX = 160


def fingerprint(facts: Iterable[str]) -> bytes:
    """Return the SHA-256 of the sorted facts. NUL separates them, since no fact contains it."""
    return hashlib.sha256("\0".join(sorted(facts)).encode()).digest()


def differences(expected: Iterable[str], actual: Iterable[str]) -> list[str]:
    """Return the missing facts (`- …`) and the additional ones (`+ …`), sorted by fact."""
    before, now = set(expected), set(actual)
    signed = [(fact, "- ") for fact in before - now] + [(fact, "+ ") for fact in now - before]
    return [sign + fact for fact, sign in sorted(signed)]


def wording_number(facts: Iterable[str]) -> int:
    """Return the number of the wording of a list, or 0 if the list does not name one."""
    return max(
        (int(f.removeprefix("wording ")) for f in facts if f.startswith("wording ")), default=0
    )


def redact(fact: str) -> str:
    """Return a fact or difference for people: at most 160 characters, one line, no literal.

    The default of a column that was added by hand may contain a secret.
    """
    bare, quote, _ = fact.replace("$", "'").partition("'")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in bare)
    return text[:_SHOWN_MAX] + ("…" if quote or len(text) > _SHOWN_MAX else "")
