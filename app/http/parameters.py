"""The schema and meaning of each parameter and header, the same in every operation."""

from typing import Any

from app.names import ENVIRONMENT_PATTERN, KEY_LENGTH_MAX, KEY_PATTERN

# PostgreSQL cannot store NUL.
_TEXT = {"type": "string", "pattern": "^[^\\u0000]*$"}
_WHOLE = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_ENVIRONMENT = {"type": "string", "pattern": ENVIRONMENT_PATTERN}
_KEY = {"type": "string", "pattern": KEY_PATTERN, "maxLength": KEY_LENGTH_MAX}
# The values of `app/access/events.py`, which this package cannot import. A test compares both.
_EVENTS = (
    *("authn_login_fail", "authn_token_created", "authn_token_rotated", "authn_token_revoked"),
    *("authz_fail", "authz_admin", "sensitive_read", "excess_rate_limit_exceeded"),
    *("schema_change", "backup_created", "backup_restored"),
)
_POSITION = "0c7a5b0e-4a45-4d0e-9d43-6d1f5a3f2b11:42"
_TAG = r'(W/)?"[!#-~]*"'

Described = tuple[dict[str, Any], str]

PATH: dict[str, Described] = {
    "environment": (_ENVIRONMENT, "Name of the environment."),
    "key": (_KEY, "Key of the entry. Slashes need no encoding."),
    "revision": (_WHOLE, "Number of the change set."),
    "id": ({"type": "string", "pattern": "^[0-9A-Za-z]{13}$"}, "ID of the token: 13 characters."),
    "ticket": (
        {"type": "string"},
        "Last part of a URL in `eventStreams`.",
    ),
}

QUERY: dict[str, Described] = {
    "prefix": (_TEXT, "Return only keys that start with this text."),
    "kind": (
        {"enum": ["setting", "flag", "segment", "secret"]},
        "Return only entries of this kind.",
    ),
    "after": (_TEXT, "Start after this key or ID. Send `next` of the previous page."),
    "before": (_WHOLE, "Start before this number. Send `next` of the previous page."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
        "Maximum number of items in the answer.",
    ),
    "revision": (_WHOLE, "Return the state at this revision."),
    "at": (
        {"type": "string", "format": "date-time"},
        "Return the state at this time (RFC 3339, with offset).",
    ),
    "min_revision": (_WHOLE, "Wait up to 2 seconds for this revision."),
    "dry_run": (
        {"type": "boolean", "default": False},
        "Check the request and answer as usual, but store nothing.",
    ),
    "from": (_WHOLE, "Revision to compare from."),
    "to": (_WHOLE, "Revision to compare to. Default: the current one."),
    "format": (
        {"enum": ["json", "yaml", "env", "flagd"]},
        "Format of the file. Default: `json`, or for an import that of `Content-Type`.",
    ),
    "mode": (
        {"enum": ["merge", "replace"], "default": "merge"},
        "`replace` deletes entries that the file lacks, of the kinds that its format supports.",
    ),
    "lenient": (
        {"type": "boolean", "default": False},
        "Accept invalid flags, segments, keys and repeated .env names, with warnings.",
    ),
    "secret": (
        {"type": "string"},
        "Patterns of names to import as secrets, such as `*PASSWORD*,*_KEY`.",
    ),
    "message": (
        {"type": "string", "maxLength": 1000},
        "Reason for the change, stored in the history.",
    ),
    "flagConfigEtag": (
        {"type": "string"},
        "`etag` of a stream event. The answer is from that revision or a later one.",
    ),
    "flagConfigLastModified": (
        {"type": "string"},
        "`lastModified` of the same event. It has no effect.",
    ),
    "environment": (_ENVIRONMENT, "Return only entries of this environment."),
    "event": (
        {"enum": list(_EVENTS)},
        "Return only this event. The names follow the OWASP logging vocabulary.",
    ),
    "reveal": (
        {"type": "boolean", "default": False},
        "Return secrets in clear. Needs the scope `reveal`. The access log records it.",
    ),
    "against": (_ENVIRONMENT, "Compare with this environment instead of a revision."),
}

REQUEST_HEADERS: dict[str, Described] = {
    "If-Match": (
        {"type": "string", "pattern": rf"^(\*|{_TAG})$"},
        'Version that you expect: an ETag, a number such as "3", or * for any.',
    ),
    "If-None-Match": (
        {"type": "string"},
        "For a write: * to create. For a read: ETags that you have; 304 if one is current.",
    ),
    "Last-Event-ID": (
        {"type": "string", "pattern": "^.*:[0-9]{1,18}$", "examples": [_POSITION]},
        "ID of the last event that you received: resume after it. Default: start now.",
    ),
    "Idempotency-Key": (
        {"type": "string", "pattern": "^[!-~]{1,200}$", "examples": ["release-4.2"]},
        "Text that you choose. A repeat within a day gets the first answer, or 409 for a token.",
    ),
}

RESPONSE_HEADERS: dict[str, Described] = {
    "X-Request-ID": (
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$", "examples": ["3f1c9a0d5e7b2468"]},
        "ID of the request in the log. The client's own ID if it is valid.",
    ),
    "Cache-Control": (
        {"enum": ["no-store", "no-cache"]},
        "no-store; no-cache only for the script of the page `/docs`.",
    ),
    "ETag": (
        {"type": "string", "pattern": '^"[!#-~]+"$', "examples": ['"3-0c7a5b0e"']},
        "Version of a configuration, for If-Match; or hash of an evaluation's inputs.",
    ),
    "Content-Disposition": ({"type": "string"}, "Suggested file name."),
    "Location": ({"type": "string", "format": "uri-reference"}, "URL of the new resource."),
    "Flagstone-Revision": (
        {"type": "string", "pattern": "^[0-9a-f-]{36}:[0-9]+$", "examples": [_POSITION]},
        "EPOCH:REVISION of the environment that the answer is from.",
    ),
    "Flagstone-Stale": (
        {"type": "integer", "minimum": 0},
        "Seconds since the database last confirmed that revision. Absent while it is current.",
    ),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds to wait before the next attempt."),
    "WWW-Authenticate": ({"const": 'Bearer realm="flagstone"'}, "How to authenticate."),
    "Access-Control-Allow-Origin": (
        {"type": "string"},
        "Origin that may read the answer. Absent for an origin that is not allowed.",
    ),
    "Access-Control-Expose-Headers": ({"type": "string"}, "Headers that the page may read."),
    "Access-Control-Allow-Methods": ({"type": "string"}, "Methods that the page may use."),
    "Access-Control-Allow-Headers": (
        {"type": "string"},
        "Headers that the page may send: those of OFREP and those it asked for.",
    ),
    "Access-Control-Max-Age": (
        {"type": "integer"},
        "Seconds for which the browser may cache this answer.",
    ),
    "Vary": ({"const": "Origin"}, "Present unless all origins get the same answer."),
}
