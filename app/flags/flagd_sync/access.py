"""The token of a call: flagd's providers send none, so GRPC_ACCESS says where it comes from.

A token in the metadata has priority. Each token is the same as on the main port: its scope must be
`read`, and a stream ends when it expires or is revoked.
"""

from collections.abc import Callable, Sequence

import msgspec

from app.access.caller import Caller
from app.access.credentials import Credentials
from app.access.events import AccessEvent, Decision, Origin
from app.access.format import token_id
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.permissions import Rights
from app.access.rate_limit import RateLimit
from app.access.refusals import scope_missing
from app.errors import AppError, Forbidden, LimitExceeded, Malformed, Unauthenticated
from app.flags.flagd_sync.selector import selected_environment
from app.settings import GrpcAccess, GrpcSettings

# Programs on this machine, if GRPC_ACCESS is local.
_LOCAL = Caller(
    rights=Rights(
        [
            Grant(
                scopes=frozenset({Scope.READ}),
                environments=frozenset({EVERY_ENVIRONMENT}),
                expires_at=None,
            )
        ]
    )
)
# A token without them cannot change anything or reveal a secret.
_READ_ONLY = frozenset({Scope.READ, Scope.EVALUATE})


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the transport received it.

    `authorization` has the values of that metadata. `names` are those of a verified certificate.
    `client` is an address, empty for a Unix socket.
    """

    method: str
    client: str = ""
    authorization: Sequence[str] = ()
    names: Sequence[str] = ()


class CallAccess:
    """Authorizes calls. Every refusal is counted and logged as on the main port."""

    def __init__(
        self,
        settings: GrpcSettings,
        directory: Credentials,
        access_log: AccessLog,
        rate_limit: RateLimit,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._access_log = access_log
        self._rate_limit = rate_limit
        # GRPC_TOKEN, empty unless calls without a token use it.
        self._shared_token = (
            settings.token.reveal()
            if settings.access is GrpcAccess.TOKEN and settings.token is not None
            else ""
        )

    def authorize(self, call: Call) -> Callable[[], Caller]:
        """Return a function that returns the caller, or raises when its token is not valid.

        Raises Unauthenticated, Forbidden, LimitExceeded, Malformed or Unavailable.
        """
        text: str | None = None
        try:
            text = self._token(call)
            authenticate = self._authenticate(text)
            authenticate()
        except Unauthenticated as error:
            raise self._refused(call, error, text or "") from None
        except Forbidden as error:
            self._log(call, AccessEvent.ACCESS_FAIL, error.code, token_id(text or ""))
            raise
        return authenticate

    def environment(self, call: Call, caller: Caller, selector: str) -> str:
        """Return the selected environment. Raises Malformed and Forbidden."""
        try:
            return selected_environment(selector, caller.rights)
        except Forbidden as error:
            self._log(call, AccessEvent.ACCESS_FAIL, error.code, caller.token_id)
            raise

    def problem(self) -> str | None:
        """Return what is wrong with GRPC_TOKEN, or None."""
        if not self._shared_token:
            return None
        try:
            self._authenticate(self._shared_token)()
        except AppError as error:
            return error.message if isinstance(error, Forbidden) else "GRPC_TOKEN is not valid"
        return None

    def _token(self, call: Call) -> str | None:
        """Return the text of the call's token, or None for a local program."""
        if len(call.authorization) > 1:
            raise Malformed("two_tokens", "Send one authorization.")
        if call.authorization:
            scheme, _, text = call.authorization[0].partition(" ")
            return text.strip() if scheme.lower() == "bearer" else ""
        if self._settings.access is GrpcAccess.LOCAL:
            return None
        if self._settings.access is GrpcAccess.CERTIFICATE:
            return self._token_of(call.names)
        return self._shared_token

    def _token_of(self, names: Sequence[str]) -> str:
        for name, token in self._settings.clients.items():
            if name in names:
                return token.reveal()
        raise Forbidden(
            "certificate_unknown", "GRPC_CLIENTS has no name of the client's certificate."
        )

    def _authenticate(self, text: str | None) -> Callable[[], Caller]:
        if text is None:
            return lambda: _LOCAL

        def authenticate() -> Caller:
            caller = self._directory.authenticate(text)
            if not caller.rights.has(Scope.READ):
                raise scope_missing(Scope.READ)
            if text == self._shared_token:
                _require_narrow(caller.rights)
            return caller

        return authenticate

    def _refused(self, call: Call, error: Unauthenticated, presented: str) -> AppError:
        """Count and log a refused token. Return the error, or LimitExceeded after too many."""
        refusal: AppError = Unauthenticated(
            error.code,
            "Send a valid token in the metadata: authorization: Bearer TOKEN.",
            reason=error.reason,
        )
        event = AccessEvent.LOGIN_FAIL
        try:
            if presented:
                self._rate_limit.count(call.client)
        except LimitExceeded as limited:
            refusal, event = limited.with_traceback(None), AccessEvent.RATE_LIMITED
        self._log(call, event, error.reason, token_id(presented))
        return refusal

    def _log(self, call: Call, event: AccessEvent, detail: str, id_: str | None) -> None:
        """Add a refused call to the access log, with the ID of its token, valid or not."""
        origin = Origin(
            token_id=id_,
            client=call.client or None,
            method="POST",
            route=call.method,
        )
        access = origin.did(event, decision=Decision.REFUSED, detail=detail)
        self._access_log.enqueue(access)


def _require_narrow(rights: Rights) -> None:
    """Raise Forbidden unless all clients of the port may have the token."""
    environments = {name for grant in rights.grants for name in grant.environments}
    is_one = len(environments) == 1 and EVERY_ENVIRONMENT not in environments
    if not is_one or any(not grant.scopes <= _READ_ONLY for grant in rights.grants):
        raise Forbidden(
            "token_too_broad",
            "GRPC_TOKEN must be for one environment, with no other scopes than read and evaluate.",
        )
