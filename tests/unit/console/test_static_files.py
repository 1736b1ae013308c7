from pathlib import Path

import pytest

from app.console.static_files import StaticFiles


def test_static_files_omit_other_types_and_licences(tmp_path: Path) -> None:
    for name in ("a.css", "b.js", "list.json", "licence.txt", ".hidden"):
        (tmp_path / name).write_text("x")

    assert set(StaticFiles(tmp_path, tmp_path).files) == {"a.css", "b.js", "console.js"}


def test_static_scripts_are_one_file_of_separate_blocks(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("const x = 1;\n")
    (tmp_path / "b.js").write_text("const x = 2;\n")

    bundle = StaticFiles(tmp_path, tmp_path).files["console.js"].plain
    assert bundle == b"{\nconst x = 1;\n}\n{\nconst x = 2;\n}\n"


def test_static_version_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("1")
    (tmp_path / "b.css").write_text("2")
    before = StaticFiles(tmp_path, tmp_path)
    (tmp_path / "b.css").write_text("3")
    after = StaticFiles(tmp_path, tmp_path)

    assert before.version != after.version
    assert after.url("a.css") == f"/console/static/{after.version}/a.css"


def test_static_url_of_unknown_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"none\.css does not exist"):
        StaticFiles(tmp_path, tmp_path).url("none.css")
