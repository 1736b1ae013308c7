"""The exchange of metrics between workers: a scrape reaches one worker and needs all of them.

Each worker listens on a Unix socket in the folder of the supervisor.
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
_SUFFIX = ".sock"


class Peers(Component):
    """Asks the other workers for their metrics, and answers them once `serving` is set."""

    name = "metrics"

    def __init__(
        self, collector: Collector, serving: asyncio.Event, *, number: int, folder: Path | None
    ) -> None:
        self._collector = collector
        self._serving = serving
        self._number = number
        self._folder = folder

    async def run(self) -> None:
        """Answer the other workers. Never returns."""
        await self._serving.wait()
        if self._folder is None:
            return
        path = self._folder / f"{self._number}{_SUFFIX}"
        path.unlink(missing_ok=True)  # left by the process that this one replaces
        try:
            server = await asyncio.start_unix_server(self._answer, path)
        except OSError as error:
            # For example, the path of the temporary folder is too long. Serve without metrics.
            log.warning("peers_cannot_ask", error=error.strerror or str(error))
            return
        async with server:
            await server.serve_forever()

    async def gather(self) -> Mapping[int, list[Family]]:
        """Return the families by worker. A worker that does not answer within 1 s is left out."""
        by_worker = {self._number: families(self._collector.collect())}
        others = self._folder.glob(f"*{_SUFFIX}") if self._folder is not None else ()
        numbers = {int(path.stem): path for path in others if path.stem != str(self._number)}
        answers = await asyncio.gather(*(self._ask(path) for path in numbers.values()))
        return by_worker | {
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
            # The worker has just died. The one that replaces it continues its series.
            log.info("worker_not_heard", worker=path.stem, error=type(error).__name__)
            return None
