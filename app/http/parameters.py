"""What each parameter and header means: the same wherever it stands, so it is said once."""

from typing import Any

from app.names import ENVIRONMENT_PATTERN, KEY_LENGTH_MAX, KEY_PATTERN

# Texts reach PostgreSQL, which stores no NUL.
_TEXT = {"type": "string", "pattern": "^[^\\u0000]*$"}
_WHOLE = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_ENVIRONMENT = {"type": "string", "pattern": ENVIRONMENT_PATTERN}
_KEY = {"type": "string", "pattern": KEY_PATTERN, "maxLength": KEY_LENGTH_MAX}
# As `app/access/events.py` has them, which this package may not know; a test compares the two.
_EVENTS = (
    *("authn_login_fail", "authn_token_created", "authn_token_rotated", "authn_token_revoked"),
    *("authz_fail", "authz_admin", "sensitive_read", "excess_rate_limit_exceeded"),
    *("schema_change", "backup_created", "backup_restored"),
)
_TAG = r'(W/)?"[!#-~]*"'

Described = tuple[dict[str, Any], str]

PATH: dict[str, Described] = {
    "environment": (_ENVIRONMENT, "The name of an environment."),
    "key": (_KEY, "The key of an entry; its slashes may stand as they are."),
    "revision": (_WHOLE, "The number of a change set."),
    "id": ({"type": "string", "pattern": "^[0-9A-Za-z]{13}$"}, "The id of a token."),
    "ticket": ({"type": "string"}, "From `eventStreams` of a bulk answer."),
}

QUERY: dict[str, Described] = {
    "prefix": (_TEXT, "Only keys that begin with this."),
    "kind": ({"enum": ["setting", "flag", "segment", "secret"]}, "Only entries of this kind."),
    "after": (_TEXT, "Go on after this key or id: `next` of the page before."),
    "before": (_WHOLE, "Only what is older than this: `next` of the page before."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}, "Size of a page."),
    "revision": (_WHOLE, "The state as of this revision, instead of now."),
    "at": (
        {"type": "string", "format": "date-time"},
        "The state as of this time, with its offset, instead of now.",
    ),
    "min_revision": (_WHOLE, "Wait up to two seconds until this revision is served."),
    "dry_run": ({"type": "boolean", "default": False}, "Do all of it, and write nothing."),
    "from": (_WHOLE, "The earlier revision."),
    "to": (_WHOLE, "The later revision; now, if left out."),
    "format": (
        {"enum": ["json", "yaml", "env", "flagd"]},
        "Of the file; for an import, by default what Content-Type says.",
    ),
    "mode": (
        {"enum": ["merge", "replace"], "default": "merge"},
        "Whether entries that the file does not have stay or go; kinds that it cannot hold stay.",
    ),
    "lenient": (
        {"type": "boolean", "default": False},
        "Warn of flags and segments that break rules, of bad keys, and of repeated names in .env.",
    ),
    "secret": (
        {"type": "string"},
        "Names of secrets in a file of settings, such as `*PASSWORD*,*_KEY`; others are settings.",
    ),
    "message": ({"type": "string", "maxLength": 1000}, "Why, for the history."),
    "flagConfigEtag": (
        {"type": "string"},
        "The `etag` of an event: answer from that moment or a later one.",
    ),
    "flagConfigLastModified": ({"type": "string"}, "Of the same event, and not looked at."),
    "environment": (_ENVIRONMENT, "Only what belongs to this environment."),
    "event": (
        {"enum": list(_EVENTS)},
        "Only accesses of this kind, in the words of the OWASP logging vocabulary.",
    ),
    "reveal": (
        {"type": "boolean", "default": False},
        "Give secrets in clear, to a token with the scope reveal; the access log tells of it.",
    ),
    "against": (_ENVIRONMENT, "The environment to compare with, instead of revisions."),
}

REQUEST_HEADERS: dict[str, Described] = {
    "If-Match": (
        {"type": "string", "pattern": rf"^(\*|{_TAG})$"},
        'The version that is expected, as an entity tag such as "3" or an ETag; * for any.',
    ),
    "If-None-Match": (
        {"type": "string"},
        "For a write * and nothing else: there must be none yet. For a read, tags.",
    ),
    "Last-Event-ID": (
        {"type": "string", "pattern": "^.*:[0-9]{1,18}$"},
        "Go on after this event; without it, from now on.",
    ),
    "Idempotency-Key": (
        {"type": "string", "pattern": "^[!-~]{1,200}$"},
        "Repeats get the first answer for a day, or 409 if that told a secret.",
    ),
}

RESPONSE_HEADERS: dict[str, Described] = {
    "X-Request-ID": (
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "Names the request in the log: the client's own id, if it sent a valid one.",
    ),
    "Cache-Control": (
        {"enum": ["no-store", "no-cache"]},
        "no-store; no-cache only for the script of the page `/docs`.",
    ),
    "ETag": (
        {"type": "string", "pattern": '^"[!#-~]+"$'},
        "An entry's version and epoch, for If-Match too; or all that an evaluation depends on.",
    ),
    "Content-Disposition": ({"type": "string"}, "A name for the file."),
    "Location": ({"type": "string", "format": "uri-reference"}, "Where what was made is."),
    "Flagstone-Revision": (
        {"type": "string", "pattern": "^[0-9a-f-]{36}:[0-9]+$"},
        "EPOCH:N, the moment of the environment that the answer is from.",
    ),
    "Flagstone-Stale": (
        {"type": "integer", "minimum": 0},
        "For how many seconds nothing has confirmed that moment; absent while all is well.",
    ),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds after which to try again."),
    "WWW-Authenticate": ({"const": 'Bearer realm="flagstone"'}, "How to show a token."),
    "Access-Control-Allow-Origin": (
        {"type": "string"},
        "Whose pages may read the answer; absent for an origin that is not listed.",
    ),
    "Access-Control-Expose-Headers": ({"type": "string"}, "What of it such a page may see."),
    "Access-Control-Allow-Methods": ({"type": "string"}, "What such a page may ask."),
    "Access-Control-Allow-Headers": (
        {"type": "string"},
        "What it may send: what OFREP uses, and what the page asked for.",
    ),
    "Access-Control-Max-Age": ({"type": "integer"}, "For how many seconds it need not ask again."),
    "Vary": ({"const": "Origin"}, "Where not all origins get the same answer."),
}
