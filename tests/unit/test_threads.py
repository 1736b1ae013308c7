"""Work in threads beside the event loop."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import suppress

import pytest

from app.errors import Malformed, malformed
from app.threads import ThreadLimiter, free, free_later, freed_in_thread, in_thread
from tests.waiting import HANG_SECONDS


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off: full collections are rare in the service."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Document:
    """Data of a request that a weak reference can point at."""


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector")
async def test_document_is_freed_before_its_error_is_raised() -> None:
    documents: list[weakref.ref[Document]] = []

    def read() -> None:
        document = Document()
        documents.append(weakref.ref(document))
        try:
            int("x")
        except ValueError:
            raise malformed("body", "must be a number") from None

    with pytest.raises(Malformed):
        await ThreadLimiter(1.0).run("read", read)

    assert documents[0]() is None


@pytest.mark.usefixtures("no_collector")
async def test_error_of_a_thread_is_freed_without_the_collector() -> None:
    freed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        raise malformed("body", "must be a number")

    async def handle() -> None:
        body = Document()
        weakref.finalize(body, loop.call_soon_threadsafe, freed.set)
        await ThreadLimiter(1.0).run("read", read)

    with suppress(Malformed):
        await handle()

    async with asyncio.timeout(HANG_SECONDS):
        await freed.wait()


@pytest.mark.usefixtures("no_collector")
async def test_result_of_a_cancelled_waiter_is_freed() -> None:
    resume, freed = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> Document:
        document = Document()
        weakref.finalize(document, loop.call_soon_threadsafe, freed.set)
        resume.wait(HANG_SECONDS)
        return document

    waiter = asyncio.ensure_future(in_thread("read", read))
    await asyncio.sleep(0)
    waiter.cancel()
    resume.set()

    async with asyncio.timeout(HANG_SECONDS):
        await freed.wait()


async def test_thread_that_hangs_delays_no_other_work() -> None:
    resume = threading.Event()
    hanging = [
        asyncio.ensure_future(in_thread("hang", lambda: resume.wait(HANG_SECONDS)))
        for _ in range(20)
    ]

    async with asyncio.timeout(HANG_SECONDS):
        assert await in_thread("work", lambda: "done") == "done"

    resume.set()
    await asyncio.gather(*hanging)


async def test_threads_are_daemons_and_are_reused() -> None:
    threads = {await in_thread("work", threading.current_thread) for _ in range(20)}

    assert all(thread.daemon and thread.name == "work" for thread in threads)
    assert len(threads) < 20


async def test_large_data_of_a_request_is_freed_in_a_thread() -> None:
    freed: asyncio.Future[threading.Thread] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def report() -> None:
        loop.call_soon_threadsafe(freed.set_result, threading.current_thread())

    def handle() -> None:
        document = Document()
        weakref.finalize(document, report)
        free_later([document])
        raise malformed("body", "must be a number")

    with suppress(Malformed), freed_in_thread():
        handle()

    async with asyncio.timeout(HANG_SECONDS):
        assert await freed is not threading.current_thread()


def test_data_outside_of_a_request_is_not_retained() -> None:
    document = Document()
    reference = weakref.ref(document)
    free_later([document])
    del document

    assert reference() is None


def test_items_of_large_data_are_freed_with_their_container() -> None:
    documents = [Document(), Document(), Document()]
    references = [weakref.ref(document) for document in documents]
    large_data: list[Collection[object]] = [documents[:1], {"a": documents[1]}, {"b": documents[2]}]
    del documents

    free(large_data)

    assert large_data == []
    assert [reference() for reference in references] == [None, None, None]
