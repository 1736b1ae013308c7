"""What a developer's machine gets by itself, in its folder."""

from pathlib import Path

import pytest

from app.access.local_credentials import DataFolderError, token_key
from app.settings import load


def test_the_key_is_made_once(tmp_path: Path) -> None:
    settings = load({"DATA_DIR": str(tmp_path)})

    made, found = token_key(settings), token_key(settings)

    assert made == found
    assert len(made.reveal()) == 64
    assert (tmp_path / "token-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_key_that_anybody_could_guess_is_refused(tmp_path: Path, content: str) -> None:
    """An empty file would make everybody who writes to the database an administrator."""
    (tmp_path / "token-key").write_text(content)

    with pytest.raises(DataFolderError, match="at least 32 characters"):
        token_key(load({"DATA_DIR": str(tmp_path)}))
