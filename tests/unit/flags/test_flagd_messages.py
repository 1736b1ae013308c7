"""The messages of flagd's sync service, compared with the official classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2

from app.errors import Malformed
from app.flags.flagd_sync.messages import (
    METADATA_ANSWER,
    fetched_flags,
    read_selector,
    synced_flags,
)

LARGE = "ü" * 70_000


@given(st.text())
def test_messages_are_those_of_official_classes(document: str) -> None:
    fetched = sync_pb2.FetchAllFlagsResponse.FromString(fetched_flags(document.encode()))
    synced = sync_pb2.SyncFlagsResponse.FromString(synced_flags(document.encode()))

    assert fetched.flag_configuration == synced.flag_configuration == document
    assert synced.HasField("sync_context")
    assert not synced.sync_context.fields


def test_large_message_has_its_length() -> None:
    message = sync_pb2.FetchAllFlagsResponse.FromString(fetched_flags(LARGE.encode()))

    assert message.flag_configuration == LARGE


def test_metadata_answer_is_an_empty_struct() -> None:
    answer = sync_pb2.GetMetadataResponse.FromString(METADATA_ANSWER)

    assert answer.HasField("metadata")
    assert not answer.metadata.fields


@given(st.text(), st.text())
def test_selector_of_official_request_is_read(selector: str, provider: str) -> None:
    request = sync_pb2.SyncFlagsRequest(selector=selector, provider_id=provider)

    assert read_selector(request.SerializeToString()) == selector


def test_unknown_fields_are_skipped() -> None:
    unknown = b"\x18\x96\x01" + b"\x25abcd" + b"\x29abcdefgh" + b"\x32\x03abc"

    assert read_selector(unknown + b"\x12\x01x" + unknown) == "x"


@given(st.binary(max_size=64))
def test_garbage_is_malformed_or_has_a_selector(message: bytes) -> None:
    try:
        selector = read_selector(message)
    except Malformed:
        return
    assert isinstance(selector, str)


@pytest.mark.parametrize("message", [b"\x12", b"\x12\x05x", b"\x12\x01\xff", b"\x07", b"\xff" * 11])
def test_broken_request_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        read_selector(message)
