"""docs/console-pages.md shows each page of the console."""

import re
from urllib.parse import urlsplit

from tests.console.gallery import (
    DOCUMENT,
    FIRST_GRANT,
    FIRST_PERSON,
    FIRST_PROPOSAL,
    FIRST_TOKEN,
    PAGES,
    PICTURES,
)
from tests.console.page_list import page_paths
from tests.console.sample import ENVIRONMENT, FLAG, SECRET, SETTING

PICTURE_BYTES_MAX = 160_000
ALL_BYTES_MAX = 5_000_000
# Without JavaScript these pages stand for the tabs of a flag, which have pictures.
_TABS = {
    f"/console/environments/{ENVIRONMENT}/flag-{view}/{FLAG}"
    for view in ("dependencies", "history", "usage", "use")
}
_IMAGE = re.compile(r"!\[(?P<text>[^\]]+)\]\(images/console/(?P<name>[a-z-]+)\.webp\)")


def test_gallery_has_a_picture_of_each_page() -> None:
    shown = {_page(path) for path in PAGES.values()}
    pages = {_page(path) for path in page_paths()} - _TABS

    assert {FIRST_TOKEN, FIRST_PROPOSAL, FIRST_PERSON, FIRST_GRANT} <= shown
    assert not pages - shown, "add these pages to PAGES of gallery.py, and to the document"


def test_document_shows_each_picture_once_with_a_text() -> None:
    images = _IMAGE.findall(DOCUMENT.read_text())
    texts = [text for text, _ in images]

    assert [name for _, name in images] == list(PAGES)
    assert len(set(texts)) == len(texts)


def test_pictures_exist_and_are_small() -> None:
    sizes = {file.stem: file.stat().st_size for file in PICTURES.iterdir()}

    assert sizes.keys() == PAGES.keys(), "run make screenshots, and delete the other files"
    assert max(sizes.values()) <= PICTURE_BYTES_MAX, sizes
    assert sum(sizes.values()) <= ALL_BYTES_MAX


def _page(path: str) -> str:
    """Return the address of a page without its state: one environment, revision and key."""
    same = re.sub(r"(?<=/environments/)[a-z]+(?=/)", ENVIRONMENT, urlsplit(path).path)
    for key in (SECRET, SETTING):
        same = same.replace(f"/{key}", f"/{FLAG}")
    return re.sub(r"(?<=/)\d+(?=/|$)", "1", same)
