"""The fingerprint of the schema: what a migration left behind, and what differs from it now.

It needs nothing that a server might refuse, and tells of what the server's own record cannot: what
a superuser did while the record was switched off.
"""

import hashlib
from collections.abc import Iterable

# Whatever decides how the catalog is put into words, for the transaction that reads it.
PINNED = (
    "set local search_path = pg_catalog, pg_temp; set local quote_all_identifiers = off; "
    "set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; "
    "set local intervalstyle = 'postgres'; set local extra_float_digits = 1; "
    "set local bytea_output = 'hex'; set local lc_monetary = 'C'; "
    "set local standard_conforming_strings = on"
)
# Goes with every list of facts. To be raised with what `list_schema_facts` says of a schema: a
# release that says it otherwise must not take the words of the one before for changes.
WORDING = "wording 2"
_SHOWN_MAX = 160


def fingerprint(facts: Iterable[str]) -> bytes:
    """Return the SHA-256 of the facts in order. None holds NUL, so none looks like two."""
    return hashlib.sha256("\0".join(sorted(facts)).encode()).digest()


def differences(expected: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return what is missing (`- …`) and what is there besides (`+ …`), in order."""
    before, now = set(expected), set(found)
    told = [("- ", fact) for fact in before - now] + [("+ ", fact) for fact in now - before]
    return [sign + fact for sign, fact in sorted(told, key=lambda each: (each[1], each[0]))]


def wording(facts: Iterable[str]) -> int:
    """Return which wording a list is in; 0 for one from before there were several."""
    return max(
        (int(f.removeprefix("wording ")) for f in facts if f.startswith("wording ")), default=0
    )


def shown(fact: str) -> str:
    """Return a fact, or a difference, for people: no line break, no length, and no literal.

    Who adds a column by hand may have written a secret as its default.
    """
    bare, quote, _ = fact.replace("$", "'").partition("'")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in bare)
    return text[:_SHOWN_MAX] + ("…" if quote or len(text) > _SHOWN_MAX else "")
