"""The protocol buffers of `flagd/sync/v1/sync.proto`, encoded without the package protobuf.

The service needs one string of a request and gives one string, so a message is a few bytes around
the document. A test compares them with the official classes.
"""

from app.errors import Malformed

_SELECTOR_FIELD = 2
# Field 1, of type string, in all answers with a document.
_DOCUMENT_TAG = b"\x0a"
# Field 2, an empty Struct: `sync_context` of SyncFlagsResponse, `metadata` of GetMetadataResponse.
_EMPTY_STRUCT = b"\x12\x00"

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10

METADATA_ANSWER = _EMPTY_STRUCT


def fetched_flags(document: bytes) -> bytes:
    """Return a FetchAllFlagsResponse."""
    return _DOCUMENT_TAG + _varint(len(document)) + document


def synced_flags(document: bytes) -> bytes:
    """Return a SyncFlagsResponse. Its context has no values: they would change evaluations."""
    return fetched_flags(document) + _EMPTY_STRUCT


def read_selector(message: bytes) -> str:
    """Return the selector of a SyncFlagsRequest or FetchAllFlagsRequest. Raises Malformed."""
    selector, position = b"", 0
    try:
        while position < len(message):
            tag, position = _read_varint(message, position)
            field, wire_type = tag >> 3, tag & 7
            if wire_type == _VARINT:
                _, position = _read_varint(message, position)
                continue
            if wire_type == _BYTES:
                size, position = _read_varint(message, position)
            else:
                size = {_FIXED_64: 8, _FIXED_32: 4}[wire_type]
            end = position + size
            if not field or end > len(message):
                raise _malformed()
            if wire_type == _BYTES and field == _SELECTOR_FIELD:
                selector = message[position:end]
            position = end
        return selector.decode()
    except (IndexError, KeyError, UnicodeDecodeError):
        raise _malformed() from None


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return a number and the position after it. Raises IndexError at the end of the message."""
    number = 0
    for index in range(_VARINT_BYTES_MAX):
        byte = message[position + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise _malformed()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _malformed() -> Malformed:
    return Malformed("message_malformed", "The message is not a valid protocol buffer.")
