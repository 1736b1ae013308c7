"""The URLs between a relay and its upstream. They are no part of the public API."""

from app.access.models import Scope
from app.http.routing import Route
from app.relay import feed, protocol, usage

_ENVIRONMENT = protocol.ENVIRONMENT
READS: tuple[Route, ...] = (
    Route("GET", protocol.STATE, feed.get_state, Scope.RELAY, protocol.UpstreamState),
    Route("GET", protocol.STATES, feed.stream_states, Scope.RELAY, protocol.UpstreamState),
    Route("GET", protocol.TOKENS, feed.get_tokens, Scope.RELAY, protocol.Tokens),
    Route("GET", protocol.LIST, feed.get_list, Scope.RELAY, bytes),
    Route("GET", _ENVIRONMENT, feed.get_update, Scope.RELAY, bytes),
)
OF_SERVICE: tuple[Route, ...] = (
    *READS,
    Route("POST", protocol.USAGE, usage.post_usage, Scope.RELAY, protocol.UsageTaken),
)
OF_RELAY: tuple[Route, ...] = (
    *READS,
    Route("POST", protocol.USAGE, usage.forward_usage, Scope.RELAY, protocol.UsageTaken),
)
