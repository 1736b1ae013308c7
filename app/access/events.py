"""The rows of the access log: events, origins and accesses.

All texts are bounded and printable, so no row can fill the disk and no line can look like two.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

# The constraint access_log_texts_bounded has the same limit.
LENGTH_MAX = 255
_ENVIRONMENT_MAX = 63
_ANONYMOUS = "anonymous"


class AccessEvent(StrEnum):
    """The OWASP logging vocabulary, with `authn_token_rotated`, `authn_link_created`,
    `authz_emergency` and the last three in its style.

    `user_updated` is a change of a person's groups or suspension, and `authz_change` one of grants,
    roles and projects.

    A session that a person ends is `session_expired` too; the detail has the reason.

    Only the migrator writes `schema_change`.
    """

    LOGIN_FAIL = "authn_login_fail"
    TOKEN_CREATED = "authn_token_created"  # noqa: S105 - the name of an event, like the next two
    TOKEN_ROTATED = "authn_token_rotated"  # noqa: S105
    TOKEN_REVOKED = "authn_token_revoked"  # noqa: S105
    SESSION_CREATED = "session_created"
    SESSION_EXPIRED = "session_expired"
    SESSION_USED_LATE = "session_use_after_expire"
    CROSS_SITE = "malicious_csrf"
    LINK_CREATED = "authn_link_created"
    ACCESS_FAIL = "authz_fail"
    PERSON_CREATED = "user_created"
    PERSON_CHANGED = "user_updated"
    RIGHTS_CHANGED = "authz_change"
    ADMINISTRATION = "authz_admin"
    EMERGENCY = "authz_emergency"
    SECRET_READ = "sensitive_read"  # noqa: S105
    RATE_LIMITED = "excess_rate_limit_exceeded"
    SCHEMA_CHANGE = "schema_change"
    BACKUP_CREATED = "backup_created"
    BACKUP_RESTORED = "backup_restored"


class Decision(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"


class Access(msgspec.Struct, frozen=True, kw_only=True, tag_field="log", tag="access"):
    """An entry of the access log. The fields have the names of the table's columns.

    `token_id` is the ID of the presented token, valid or not. `resource` is a key, or the ID of
    another token. The default of `at` is the time of the transaction. `count` is above 1 for a
    group of equal accesses: the first happened at `at`, the last at `last_at`.
    """

    at: datetime | None = None
    last_at: datetime | None = None
    count: int = 1
    event: AccessEvent
    decision: Decision
    actor: str
    token_id: str | None = None
    client: str | None = None
    request_id: str | None = None
    method: str | None = None
    route: str | None = None
    environment: str | None = None
    resource: str | None = None
    version: int | None = None
    detail: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of an access, and the request that it belongs to.

    `actor` is `token:ID`, `person:ID`, `operator:NAME` at the command line, or `system:NAME`. The
    other fields belong to a request. `route` is the template, since a path may contain what a log
    must not.
    """

    actor: str = _ANONYMOUS
    token_id: str | None = None
    client: str | None = None
    request_id: str | None = None
    method: str | None = None
    route: str | None = None

    def did(
        self,
        event: AccessEvent,
        *,
        decision: Decision = Decision.ALLOWED,
        environment: str | None = None,
        resource: str | None = None,
        version: int | None = None,
        detail: str | None = None,
    ) -> Access:
        """Return an access of this origin. Never pass a value, or the text of a token."""
        return Access(
            event=event,
            decision=decision,
            actor=_printable(self.actor) or _ANONYMOUS,
            token_id=_printable(self.token_id),
            client=_printable(self.client),
            request_id=_printable(self.request_id),
            method=_printable(self.method),
            route=_printable(self.route),
            environment=_printable(environment, _ENVIRONMENT_MAX),
            resource=_printable(resource),
            version=version,
            detail=_printable(detail),
        )


def _printable(text: str | None, length_max: int = LENGTH_MAX) -> str | None:
    """Return the beginning of the text, with an escape for each character that does not print.

    Escaped are control characters, marks that change the direction of writing, NUL, and lone
    surrogates.
    """
    if text is None or (len(text) <= length_max and text.isprintable()):
        return text
    printable = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(printable)[:length_max]
