"""The token key that the service creates in DATA_DIR."""

from pathlib import Path

import pytest

from app.access.local_credentials import DataFolderError, token_key
from app.settings import load


def test_token_key_is_created_once(tmp_path: Path) -> None:
    settings = load({"DATA_DIR": str(tmp_path)})

    created, read = token_key(settings), token_key(settings)

    assert created == read
    assert len(created.reveal()) == 64
    assert (tmp_path / "token-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_token_key_that_is_too_short_is_refused(tmp_path: Path, content: str) -> None:
    """With an empty key, anyone who can write to the database could create tokens."""
    (tmp_path / "token-key").write_text(content)

    with pytest.raises(DataFolderError, match="at least 32 characters"):
        token_key(load({"DATA_DIR": str(tmp_path)}))
