"""Find the secrets in a file without kinds: by the caller's patterns, or by likely names."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import translate

from app.configuration.changes.models import Content, Entry, Kind, Operation
from app.configuration.transfer.documents import Document
from app.errors import invalid

_PATTERNS_MAX = 50
_PATTERN_LENGTH_MAX = 255
_NAMES_SHOWN = 20

_LIKELY = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|[_./-](?:KEY|TOKEN)\Z", re.IGNORECASE)


def with_secrets(document: Document, patterns: Sequence[str]) -> Document:
    """Return the document with matching entries as secrets. Raises Invalid if it has kinds."""
    if len(patterns) > _PATTERNS_MAX:
        raise invalid("secret", f"must be at most {_PATTERNS_MAX} patterns")
    if not all(1 <= len(pattern) <= _PATTERN_LENGTH_MAX for pattern in patterns):
        raise invalid("secret", f"must be patterns of 1 to {_PATTERN_LENGTH_MAX} characters")
    if patterns and not _is_of_settings(document):
        raise invalid("secret", "must be given only for a file without kinds")
    # fnmatchcase would cache 32,768 patterns of all requests.
    globs = [re.compile(translate(pattern)) for pattern in patterns]
    secrets = {key for key in document.entries if any(glob.match(key) for glob in globs)}
    return _with_secrets(document, secrets)


def with_stored_secrets(document: Document, stored: Mapping[str, Entry]) -> Document:
    """Return the document with each entry as a secret that is stored as a secret."""
    keys = {
        key
        for key, entry in stored.items()
        if entry.content is not None and entry.content.kind is Kind.SECRET
    }
    return _with_secrets(document, keys) if keys and _is_of_settings(document) else document


def warn_of_likely_secrets(operations: Iterable[Operation]) -> list[str]:
    """Return a warning that lists the settings with names like secrets, if there are any."""
    names = [
        operation.key
        for operation in operations
        if operation.content and _is_likely(operation.key, operation.content)
    ]
    if not names:
        return []
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    rule = "look like secrets, and are settings that every reader sees"
    shown = ", ".join(names[:_NAMES_SHOWN])
    return [f"{shown}{more}: {rule}; the option secret takes patterns, such as *PASSWORD*"]


def _with_secrets(document: Document, keys: Container[str]) -> Document:
    entries = {
        key: replace(content, kind=Kind.SECRET) if key in keys else content
        for key, content in document.entries.items()
    }
    return replace(document, entries=entries)


def _is_of_settings(document: Document) -> bool:
    return document.kinds == {Kind.SETTING}


def _is_likely(key: str, content: Content) -> bool:
    is_text = isinstance(content.value, str) and content.value != ""
    return content.kind is Kind.SETTING and is_text and _LIKELY.search(key) is not None
