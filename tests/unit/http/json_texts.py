"""Generated JSON documents, and pieces of almost valid ones."""

import unicodedata

from hypothesis import strategies as st

from app.http.decoder import INTEGER_MAX

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = TEXTS.map(lambda text: unicodedata.normalize("NFC", text))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)
# Random sequences of these pieces are almost valid JSON more often than random bytes.
PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b"1", b"-", b"1e400", b"NaN", b"-Infinity",
    b"null", b"true", b"\\", b'"\\ud800"', b'"\\u0000"', b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80",
    b"9" * 20, b" ", b"\n", b"0.1", b'"e\xcc\x81"', b"\x00",
]  # fmt: skip
