"""The workers of one service ask each other: a scrape reaches one of them, and wants all.

Each listens on a socket of its own in the supervisor's folder, and answers whoever connects.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from app.components import Component
from app.log import logger
from app.operations.metrics.collector import Collector
from app.operations.metrics.families import Family, families

log = logger(__name__)

_ANSWER_SECONDS = 1.0
_ENDING = ".sock"


class Peers(Component):
    """The other workers; without a folder there are none. It answers once `serving` is set."""

    name = "metrics"

    def __init__(
        self, collector: Collector, serving: asyncio.Event, *, number: int, folder: Path | None
    ) -> None:
        self._collector = collector
        self._serving = serving
        self._number = number
        self._folder = folder

    async def run(self) -> None:
        """Answer the other workers without end."""
        await self._serving.wait()
        if self._folder is None:
            return
        path = self._folder / f"{self._number}{_ENDING}"
        path.unlink(missing_ok=True)  # of the process that this one replaces
        try:
            server = await asyncio.start_unix_server(self._answer, path)
        except OSError as error:
            # Such as a temporary folder of too long a name. Metrics decide about nothing else.
            log.warning("peers_cannot_ask", error=error.strerror or str(error))
            return
        async with server:
            await server.serve_forever()

    async def gather(self) -> Mapping[int, list[Family]]:
        """Return every worker's families; one that does not answer within a second is left out."""
        found = {self._number: families(self._collector.collect())}
        others = self._folder.glob(f"*{_ENDING}") if self._folder is not None else ()
        numbers = {int(path.stem): path for path in others if path.stem != str(self._number)}
        answers = await asyncio.gather(*(self._ask(path) for path in numbers.values()))
        return found | {
            number: answer
            for number, answer in zip(numbers, answers, strict=True)
            if answer is not None
        }

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(families(self._collector.collect())))
        writer.close()

    async def _ask(self, path: Path) -> list[Family] | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return msgspec.json.decode(await reader.read(), type=list[Family])
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            # One that has just died and is being replaced; its series go on with the next.
            log.info("worker_not_heard", worker=path.stem, error=type(error).__name__)
            return None
