from pathlib import Path

import pytest

from app.console.static_files import StaticFiles


def test_static_files_omit_other_types_and_licences(tmp_path: Path) -> None:
    for name in ("a.css", "b.js", "list.json", "licence.txt", ".hidden"):
        (tmp_path / name).write_text("x")

    assert set(StaticFiles(tmp_path).files) == {"a.css", "b.js"}


def test_static_version_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("1")
    (tmp_path / "b.css").write_text("2")
    before = StaticFiles(tmp_path)
    (tmp_path / "b.css").write_text("3")
    after = StaticFiles(tmp_path)

    assert before.version != after.version
    assert after.url("a.css") == f"/console/static/{after.version}/a.css"


def test_static_url_of_unknown_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"none\.css does not exist"):
        StaticFiles(tmp_path).url("none.css")
