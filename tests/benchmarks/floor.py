"""The floor: bare aiohttp handlers on uvloop, with and without a body, and one that decodes the
request.
"""

import sys

import msgspec
import uvloop
from aiohttp import web

UNCHANGED = "/unchanged"
EVALUATE = "/evaluate"


def main() -> None:
    port, size = int(sys.argv[1]), int(sys.argv[2])
    body = b"x" * size

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def answer_unchanged(_: web.Request) -> web.Response:
        return web.Response(status=304, headers={"ETag": '"1"'})

    async def answer_decoded(request: web.Request) -> web.Response:
        msgspec.json.decode(await request.read())
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get(UNCHANGED, answer_unchanged)
    app.router.add_post(EVALUATE, answer_decoded)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
