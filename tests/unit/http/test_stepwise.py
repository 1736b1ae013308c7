"""Long texts are decoded in steps, with the same result."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.transfer.document_reader import read_document
from app.configuration.transfer.documents import Format
from app.errors import Malformed
from app.http import stepwise
from app.http.decoder import parse
from tests.unit.http.json_texts import DOCUMENTS, PIECES


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode every text in steps, like a long one."""
    make_short(monkeypatch)


def make_short(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stepwise, "QUICK_BYTES", 0)
    patch.setattr(stepwise, "STEP_BYTES", 3)


def outcome(raw: bytes) -> Any:
    try:
        # As a text, in which True is not 1.
        return json.dumps(parse(raw))
    except Malformed as error:
        return error.code


@given(
    DOCUMENTS.map(lambda document: json.dumps(document, ensure_ascii=False).encode())
    | st.lists(st.sampled_from([*PIECES, "٢".encode()]), max_size=8).map(b"".join)
)
@hypothesis_settings(deadline=None)
def test_stepwise_decoding_equals_decoding_at_once(raw: bytes) -> None:
    expected = outcome(raw)

    with pytest.MonkeyPatch.context() as patch:
        make_short(patch)
        assert outcome(raw) == expected


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("text", ["", "a", "aé𝄞" * 5])
def test_long_text_is_decoded_whole(text: str) -> None:
    assert stepwise.text_of(text.encode()) == text
    assert stepwise.text_of(b"\xef\xbb\xbf" + text.encode(), "utf-8-sig") == text


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("raw", [b"\xc3", b"aaaa\xff", b"aa\xed\xa0\x80"])
def test_long_text_that_is_not_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        stepwise.text_of(raw)


def test_long_yaml_is_read_whole() -> None:
    values = {f"k{n}": "é𝄞" * n for n in range(500)}
    raw = "".join(f"{key}: '{value}'\n" for key, value in values.items()).encode()

    document = read_document(raw, Format.YAML)

    assert {key: content.value for key, content in document.entries.items()} == values
