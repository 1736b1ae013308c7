"""The third-party files are those of their lists, and their licences are beside them."""

from pathlib import Path

import pytest

from tests.vendored import FOLDERS, LIST, digest, packages


@pytest.mark.parametrize("folder", FOLDERS, ids=["console", "tests"])
def test_vendored_files_have_the_listed_hashes(folder: Path) -> None:
    listed = {file: entry["sha256"] for p in packages(folder) for file, entry in p["files"].items()}
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}

    assert {n: digest(path) for n, path in files.items() if path.is_file() and n != LIST} == listed


@pytest.mark.parametrize("folder", FOLDERS, ids=["console", "tests"])
def test_vendored_packages_have_version_and_licence(folder: Path) -> None:
    for package in packages(folder):
        assert package["version"][0].isdecimal()
        assert package["licence"]
        assert f"licences/{package['name']}.txt" in package["files"]


def test_sprite_has_each_listed_icon() -> None:
    sprite = (FOLDERS[0] / "icons.svg").read_text()
    (icons,) = (package["icons"] for package in packages(FOLDERS[0]) if "icons" in package)

    assert all(f'<symbol id="{icon}" ' in sprite for icon in icons)
    assert sprite.count("<symbol ") == len(icons)
