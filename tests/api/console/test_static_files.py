import gzip

from app.console.first_request import CONSOLE
from app.console.static_files import STATIC, StaticFiles
from tests.conftest import Service


async def test_static_file_is_cached_for_a_year_and_compressed(service: Service) -> None:
    static = await _static_files(service)
    async with service.stranger.get(static.url("console.css"), auto_decompress=False) as answer:
        body = await answer.read()

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == static.files["console.css"].plain


async def test_static_file_is_plain_for_clients_without_gzip(service: Service) -> None:
    static = await _static_files(service)
    headers = {"Accept-Encoding": "identity"}
    url = static.url("vendor/icons.svg")
    async with service.stranger.get(url, headers=headers) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.content_type == "image/svg+xml"
        assert await answer.read() == static.files["vendor/icons.svg"].plain


async def test_static_file_of_another_name_or_hash_is_404(service: Service) -> None:
    root = f"/console/static/{(await _static_files(service)).version}"
    for path in (
        f"{root}/none.css",
        f"{root}/vendor/vendored.json",
        f"{root}/vendor/licences/htmx.org.txt",
        f"{root}/..%2f..%2fpages.py",
        f"{root}/%2e%2e/%2e%2e/pages.py",
        f"{root}/",
        "/console/static/0000000000000000/console.css",
    ):
        async with service.stranger.get(path, allow_redirects=False) as answer:
            assert answer.status != 200, path
            assert b"import" not in await answer.read()


async def _static_files(service: Service) -> StaticFiles:
    return (await service.app[CONSOLE].pages())[STATIC]
