"""The MAC that relays check has a key of its own, and follows the changes of a token."""

from dataclasses import replace
from datetime import UTC, datetime

from app.access.format import generate_token
from app.access.mac import holds, lapsed, mac, relay_key, relay_mac, retired
from app.access.models import Grant, Scope, Token
from app.settings import Secret

KEY = Secret("k" * 32)
GRANT = Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"a", "b"}), expires_at=None)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def test_mac_of_relays_is_not_that_of_the_service() -> None:
    new, key = generate_token(is_admin=False), relay_key(KEY)
    token = Token(id=new.id, name="", mac=mac(key, new.text, GRANT), grant=GRANT)

    assert KEY.reveal() not in key.reveal()
    assert holds(key, new.text, token)
    assert not holds(KEY, new.text, token)


def test_relay_mac_of_a_seen_token_holds() -> None:
    new, key = generate_token(is_admin=False), relay_key(KEY)
    stored = Token(id=new.id, name="", mac=b"", grant=GRANT, lapsed=("b",))
    found = relay_mac(key, new.text, stored)

    assert found == lapsed(key, mac(key, new.text, GRANT), "b")
    assert found is not None
    assert holds(key, new.text, replace(stored, mac=found))
    assert relay_mac(key, new.text, replace(stored, retires_at=LATER)) is None


def test_end_that_was_changed_by_hand_is_refused_at_relays() -> None:
    new, key = generate_token(is_admin=False), relay_key(KEY)
    before = mac(key, new.text, GRANT)
    token = Token(
        id=new.id, name="", mac=retired(key, before, LATER), grant=GRANT, retires_at=LATER
    )

    assert holds(key, new.text, token)
    assert not holds(key, new.text, replace(token, retires_at=None))
    assert not holds(key, new.text, replace(token, mac=before))
