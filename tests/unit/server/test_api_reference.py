"""The page of the HTTP API is that of the OpenAPI document."""

from app.server.reference import PAGE, page
from tests.paths import ROOT


def test_http_api_page_is_generated() -> None:
    """Run `make reference` after a change of a route, a text or an example."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page()
