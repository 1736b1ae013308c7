"""The keys derived from TOKEN_KEY never change, or stored tokens and signatures become invalid.

The expected values were computed by the release before app/crypto/derivation.py existed.
"""

import hmac

import pytest

from app.access.mac import mac
from app.access.models import Grant, Scope
from app.crypto.box import Box
from app.crypto.derivation import Purpose, derive
from app.crypto.secret import Secret
from app.crypto.signing import Signer, is_signed

_TOKEN_KEY = Secret("k" * 32)


def test_token_mac_stored_by_older_release_stays_valid() -> None:
    grant = Grant(
        scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None
    )

    stored = "1434eab9ef7fc3ee2cec02131237bdadf52d2490b65e89d9945f720b864249eb"
    assert mac(_TOKEN_KEY, "text", grant).hex() == stored


def test_request_digest_stored_by_older_release_stays_valid() -> None:
    key = derive(_TOKEN_KEY, Purpose.REQUEST_DIGESTS)

    stored = "23a2e0e8449e8071f80721ec5b2a11912e4c4142ddeb5d122e816afa2fd6bf23"
    assert hmac.digest(key, b"PUT /x", "sha256").hex() == stored


def test_stream_ticket_of_older_release_stays_valid() -> None:
    key = derive(_TOKEN_KEY, Purpose.STREAM_TICKETS)

    mac_of_ticket = hmac.digest(key, b"0123456789abc/local", "sha256")[:24]
    assert mac_of_ticket.hex() == "192781052407fce480ff4b6212c0045cf780a17a015e586b"


def test_signature_of_older_release_stays_valid() -> None:
    signature = (
        "fKS0acYZlLkPdaeJSP8fj03-4HEjwMxI77Lph-lwPkw_pRcMBRH091v_nZ9oqmJqhYI_6x96c4K2wXYy3761Bw"
    )

    assert Signer(_TOKEN_KEY).public_key == "I3QvgtFXEDh21i7oY_-owWE6YcCvNDQtEIR-cC5DhtA"
    assert is_signed(Signer(_TOKEN_KEY).public_key, "head", b"content", signature)


def test_disk_snapshot_of_older_release_stays_readable() -> None:
    box = bytes.fromhex("e5388b4add14651127d1639864d41badd92e1d19c1a4c39beb5624a78f5264bd5d8943")

    assert Box(derive(_TOKEN_KEY, Purpose.DISK_SNAPSHOTS)).open(box, b"context") == b"content"


@pytest.mark.parametrize("purpose", Purpose)
def test_derived_key_differs_by_purpose_and_token_key(purpose: Purpose) -> None:
    others = {derive(_TOKEN_KEY, other) for other in Purpose if other is not purpose}

    assert derive(_TOKEN_KEY, purpose) not in others
    assert derive(_TOKEN_KEY, purpose) != derive(Secret("l" * 32), purpose)
