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
_TAG = r'(W/)?"[!#-~]*"'

Described = tuple[dict[str, Any], str]

PATH: dict[str, Described] = {
    "environment": (_ENVIRONMENT, "The name of an environment."),
    "key": (_KEY, "The key of a configuration. Slashes need no encoding."),
    "revision": (_WHOLE, "The number of a change set."),
    "id": ({"type": "string", "pattern": "^[0-9A-Za-z]{13}$"}, "The ID of a token."),
    "ticket": (
        {"type": "string"},
        "The ticket in a URL of `eventStreams`, from a bulk evaluation.",
    ),
}

QUERY: dict[str, Described] = {
    "prefix": (_TEXT, "Return only keys with this prefix."),
    "kind": (
        {"enum": ["setting", "flag", "segment", "secret"]},
        "Return only configurations of this kind.",
    ),
    "after": (_TEXT, "Start after this key or ID: `next` of the previous page."),
    "before": (_WHOLE, "Start before this number: `next` of the previous page."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
        "Maximum items of a page.",
    ),
    "revision": (_WHOLE, "Return the state at this revision."),
    "at": (
        {"type": "string", "format": "date-time"},
        "Return the state at this time (RFC 3339, with offset).",
    ),
    "min_revision": (_WHOLE, "Wait up to 2 seconds for this revision."),
    "dry_run": (
        {"type": "boolean", "default": False},
        "Check and run the request, then roll it back.",
    ),
    "from": (_WHOLE, "The earlier revision."),
    "to": (_WHOLE, "The later revision. Default: the current one."),
    "format": (
        {"enum": ["json", "yaml", "env", "flagd"]},
        "Format of the file. Default of an import: by Content-Type.",
    ),
    "mode": (
        {"enum": ["merge", "replace"], "default": "merge"},
        "replace deletes entries that the file does not have, of kinds that its format supports.",
    ),
    "lenient": (
        {"type": "boolean", "default": False},
        "Warn, instead of refusing, about invalid flags, segments, keys and repeated .env names.",
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
        "The `etag` of a stream event. The answer is from that revision or a later one.",
    ),
    "flagConfigLastModified": ({"type": "string"}, "From the same event. Accepted, not used."),
    "environment": (_ENVIRONMENT, "Return only entries of this environment."),
    "event": (
        {"enum": list(_EVENTS)},
        "Return only this event, named after the OWASP logging vocabulary.",
    ),
    "reveal": (
        {"type": "boolean", "default": False},
        "Return secrets in clear. Needs the scope reveal. The access log records it.",
    ),
    "against": (_ENVIRONMENT, "Compare with this environment instead of a revision."),
}

REQUEST_HEADERS: dict[str, Described] = {
    "If-Match": (
        {"type": "string", "pattern": rf"^(\*|{_TAG})$"},
        'The expected version: an ETag, a number such as "3", or * for any.',
    ),
    "If-None-Match": (
        {"type": "string"},
        "For a write: * to create. For a read: the ETags that the client has.",
    ),
    "Last-Event-ID": (
        {"type": "string", "pattern": "^.*:[0-9]{1,18}$"},
        "Resume after this event. Default: start now.",
    ),
    "Idempotency-Key": (
        {"type": "string", "pattern": "^[!-~]{1,200}$"},
        "A repeated request gets the first answer for one day, or 409 if that contained a secret.",
    ),
}

RESPONSE_HEADERS: dict[str, Described] = {
    "X-Request-ID": (
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "ID of the request in the log. The client's own ID if it is valid.",
    ),
    "Cache-Control": (
        {"enum": ["no-store", "no-cache"]},
        "no-store; no-cache only for the script of the page `/docs`.",
    ),
    "ETag": (
        {"type": "string", "pattern": '^"[!#-~]+"$'},
        "Version of a configuration, for If-Match; or hash of an evaluation's inputs.",
    ),
    "Content-Disposition": ({"type": "string"}, "Suggested file name."),
    "Location": ({"type": "string", "format": "uri-reference"}, "URL of the new resource."),
    "Flagstone-Revision": (
        {"type": "string", "pattern": "^[0-9a-f-]{36}:[0-9]+$"},
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
