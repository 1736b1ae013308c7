"""The shapes that an upstream and its relays exchange. They are no part of the public API.

Both may have different releases. So a new member needs a default, and a change that an earlier
release would misunderstand needs another `FORMAT`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import msgspec

from app.access.models import Token
from app.configuration.snapshots.change_event import ChangeEventData
from app.environments.models import Environment

FORMAT = 1
BASE = "/relay/v1"
STATE = f"{BASE}/state"
STATES = f"{BASE}/states"
TOKENS = f"{BASE}/tokens"
USAGE = f"{BASE}/usage"
ENVIRONMENT = f"{BASE}/environments/{{environment}}"
LIST = f"{BASE}/lists/{{digest}}"
NDJSON = "application/x-ndjson"
MSGPACK = "application/vnd.msgpack"
# The IDs of the relays that a request comes from, for finding circles.
PATH_HEADER = "Flagstone-Relay-Path"
# The upstream sends its state at least this often.
BEAT_SECONDS = 0.9
# A larger update is not sent in a state.
PUSHED_KEYS_MAX = 20
PUSHED_BYTES_MAX = 64 * 1024
# The rows of a batch. With long names they have less than 1 MiB.
BATCH_ROWS_MAX = 1_000
BATCH_TOKENS_MAX = 5_000


Position = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f-]{36}:[0-9]{1,18}:[0-9a-f]{32}$", max_length=100)
]


class UpstreamState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an upstream, as far as a token may see it.

    `depth` is the number of relays between it and the database. `environments` has the position of
    each environment. In a stream, only changed ones follow the first state, and null is a deleted
    one. `tokens` is the entity tag of the tokens. `stale_seconds` is the age of the state, if it
    could not be confirmed. `now` is the time by the clock of the database. `updates` are small
    updates, each an `Update`, so that the relay need not fetch them.
    """

    format: int
    depth: int
    environments: Mapping[str, Position | None]
    tokens: str
    stale_seconds: Annotated[float, msgspec.Meta(ge=0)]
    now: Annotated[datetime, msgspec.Meta(tz=True)]
    updates: Sequence[msgspec.Raw] = ()


class UpdateHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of an update. `count` entries follow, one in a line, and then `END`.

    `after` is the revision that the update continues, or None if it has all entries. `events` are
    the latest change sets.
    """

    environment: Environment
    digest: str
    after: int | None
    removed: Sequence[str]
    events: Sequence[ChangeEventData]
    count: int


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """A small update in a state. `entries` are the JSON of the changed entries."""

    head: UpdateHead
    entries: Sequence[msgspec.Raw]


END = b'{"end":true}'


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that relays accept, each a `Token`, and the key of their MACs."""

    key: str
    tokens: Sequence[msgspec.Raw]

    def usable(self) -> list[Token]:
        """Return the tokens without those that only a newer release understands."""
        tokens = []
        for raw in self.tokens:
            with suppress(msgspec.ValidationError):
                tokens.append(msgspec.json.decode(raw, type=Token))
        return tokens


_Text = Annotated[str, msgspec.Meta(max_length=255)]


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    environment: _Text
    key: _Text
    reason: Annotated[str, msgspec.Meta(pattern="^[A-Z_]*$", max_length=255)]
    variant: _Text
    count: Annotated[int, msgspec.Meta(ge=1, le=10**9)]


class UsageBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of evaluations, and the IDs of the tokens that were used."""

    counts: Annotated[Sequence[UsageRow], msgspec.Meta(max_length=BATCH_ROWS_MAX)]
    tokens: Annotated[Sequence[_Text], msgspec.Meta(max_length=BATCH_TOKENS_MAX)] = ()


class UsageTaken(msgspec.Struct, frozen=True, kw_only=True):
    rows: int
