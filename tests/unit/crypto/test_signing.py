"""A signature is valid for one content, one purpose and one key only."""

import pytest

from app.crypto.secret import Secret
from app.crypto.signing import Signer, is_signed

_KEY = Secret("k" * 32)
_OTHER = Signer(Secret("l" * 32))


def test_signature_verifies_with_public_key() -> None:
    signer = Signer(_KEY)

    assert is_signed(signer.public_key, "head", b"content", signer.sign("head", b"content"))
    assert signer.public_key == Signer(_KEY).public_key != _OTHER.public_key


def test_signature_other_content_purpose_or_key_is_refused() -> None:
    signer = Signer(_KEY)
    signature = signer.sign("head", b"content")

    assert not is_signed(signer.public_key, "head", b"contenT", signature)
    assert not is_signed(signer.public_key, "backup", b"content", signature)
    assert not is_signed(_OTHER.public_key, "head", b"content", signature)


@pytest.mark.parametrize("text", ["", "A", "é", "A" * 43, "*" * 86, "A" * 86])
def test_malformed_signature_is_refused(text: str) -> None:
    signer = Signer(_KEY)
    signature = signer.sign("head", b"content")

    assert not is_signed(signer.public_key, "head", b"content", text)
    assert not is_signed(text, "head", b"content", signature)
