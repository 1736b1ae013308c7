"""The check of private names finds each use of one, and ignores the names of tests."""

from pathlib import Path

import pytest

from tests.checks.private import findings


def _findings(root: Path, text: str) -> list[tuple[str, int]]:
    file = root / "tests/test_a.py"
    file.parent.mkdir()
    file.write_text(text)
    return [(path.relative_to(root).as_posix(), line) for path, line, _ in findings(root)]


@pytest.mark.parametrize(
    "text",
    [
        "\npool._size = 1\n",
        "\nservice.app[KEY]._pool.close()\n",
        "\nfrom app.access.log import _insert\n",
        "\nfrom app.access._log import insert\n",
        "\nimport app._log\n",
        "\nmonkeypatch.setattr(log, '_SECONDS', 1)\n",
        "\nmonkeypatch.setattr('app.access.log._SECONDS', 1)\n",
        "\nSCRIPT = 'print(request._process)'\n",
        "\ngetattr(pool, '_size')\n",
    ],
)
def test_private_name_of_app_is_found(tmp_path: Path, text: str) -> None:
    assert _findings(tmp_path, text) == [("tests/test_a.py", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "self._size = cls._sizes\n",
        "from tests.factories import _flag\n",
        "from app.access.log import AccessLog as _Log\n",
        "x.__dict__\n",
        "monkeypatch.setattr(log, 'SECONDS', 1)\n",
        "monkeypatch.setenv('_OTHER', '1')\n",
        "x = '_SECONDS'\n",
    ],
)
def test_public_names_and_names_of_tests_are_ignored(tmp_path: Path, text: str) -> None:
    assert not _findings(tmp_path, text)
