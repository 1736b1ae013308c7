"""The floor: bare aiohttp handlers on uvloop, one with a body of a given size, one without."""

import sys

import uvloop
from aiohttp import web

UNCHANGED = "/unchanged"


def main() -> None:
    port, size = int(sys.argv[1]), int(sys.argv[2])
    body = b"x" * size

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def answer_unchanged(_: web.Request) -> web.Response:
        return web.Response(status=304, headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get(UNCHANGED, answer_unchanged)
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
