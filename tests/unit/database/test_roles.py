"""The password's SCRAM verifier equals the one that PostgreSQL would compute."""

import hashlib
import hmac
import os
import re
from base64 import b64decode

import pytest

from app.database.role_names import scram_verifier


def parts(verifier: str) -> tuple[int, bytes, bytes, bytes]:
    """Return the iterations, the salt, StoredKey and ServerKey."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)", verifier)
    assert match is not None
    salt, stored, server = (b64decode(text, validate=True) for text in match.groups()[1:])
    return int(match[1]), salt, stored, server


def test_verifier_has_the_form_that_postgresql_stores() -> None:
    iterations, salt, stored, server = parts(scram_verifier("secret"))

    assert iterations == 4096
    assert (len(salt), len(stored), len(server)) == (16, 32, 32)


def test_verifier_passes_the_exchange_of_rfc_7677(monkeypatch: pytest.MonkeyPatch) -> None:
    """The RFC has only the messages. Our keys must accept its proof and give its signature."""
    monkeypatch.setattr(os, "urandom", lambda _: b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    messages = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO",
        f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        f"c=biws,r={nonce}",
    )
    authentication = ",".join(messages).encode()
    proof = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")

    _, _, stored, server = parts(scram_verifier("pencil"))

    signature = hmac.digest(stored, authentication, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    assert hmac.digest(server, authentication, "sha256") == b64decode(
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


def test_every_verifier_has_its_own_salt() -> None:
    verifiers = {scram_verifier("secret") for _ in range(5)}

    assert len({parts(verifier)[1:] for verifier in verifiers}) == 5


def test_verifier_does_not_contain_the_password() -> None:
    assert "secret" not in scram_verifier("secret")


def test_password_beyond_ascii_is_refused() -> None:
    """It would need SASLprep. Our generated passwords are ASCII."""
    with pytest.raises(UnicodeEncodeError):
        scram_verifier("pässword")
