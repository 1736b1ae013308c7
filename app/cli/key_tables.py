"""What `key list` shows."""

from collections import Counter, defaultdict

from rich.table import Column, Table
from rich.text import Text

from app.secrets.keyring import KeyRing
from app.secrets.models import StoredDataKey


def ring_table(ring: KeyRing | None, wrapped: Counter[str]) -> Table:
    """Return the keys of the ring, and those that are missing from it, without their material."""
    table = Table("key", "state", "data keys", title="Key-encryption keys")
    other = Text("of KEY_COMMAND") if ring is None else Text("missing", style="red")
    states = defaultdict(lambda: other)
    for key in ring.keys if ring is not None else ():
        states[key.id] = Text(key.state)
    for key_id in [*states, *sorted(wrapped.keys() - states.keys())]:
        table.add_row(Text(key_id), states[key_id], str(wrapped[key_id]))
    return table


def data_key_table(found: list[tuple[StoredDataKey, int, int]]) -> Table:
    """Return the data keys, with how many entries and sides of changes each has sealed."""
    table = Table(
        "environment",
        Column("data key", overflow="fold"),
        Column("wrapped by", overflow="fold"),
        "made",
        "state",
        Column("entries", justify="right"),
        Column("history", justify="right"),
        title="Data keys",
    )
    for key, entries, history in found:
        state = "active" if key.retired_at is None else f"retired {key.retired_at:%Y-%m-%d}"
        if key.destroyed_at is not None:
            state = f"destroyed {key.destroyed_at:%Y-%m-%d}"
        made = f"{key.created_at:%Y-%m-%d}"
        kek_id = key.kek_id if key.wrapped is not None else "-"
        table.add_row(
            *(key.environment, key.id.hex(), Text(kek_id), made, state), str(entries), str(history)
        )
    return table
