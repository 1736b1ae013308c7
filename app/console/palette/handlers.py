"""The results of the palette: keys of one environment, other environments, and pages."""

from collections.abc import Iterable
from functools import partial

from aiohttp import web

from app.configuration.snapshots.reading import loaded_snapshot, own_snapshot
from app.configuration.snapshots.snapshot import Snapshot
from app.console.flags.listing import INDEXES
from app.console.palette.ranking import Candidate, best, candidate
from app.console.palette.views import Destination, describe, describe_flag, destinations
from app.console.rendering import Frame, frame, page
from app.threads import in_thread

RESULTS_MAX = 12


async def search_palette(request: web.Request) -> web.Response:
    """Get what matches the query best, as a fragment.

    When no key of the environment matches, flags of the other environments are searched.
    """
    snapshot = own_snapshot(request, request.match_info["environment"])
    around = frame(request)
    pages = destinations(around)
    query = request.query.get("q", "")
    if not query.strip():
        return page(request, "palette/results.html", results=list(pages.values())[:RESULTS_MAX])
    names = [candidate("page", name, item.synonyms) for name, item in pages.items()]
    matches = await in_thread("palette", lambda: _best(names, snapshot, query))
    index = await request.app[INDEXES].get(snapshot)
    results: list[Destination] = []
    for item in matches:
        flag = index.find(item.name) if item.kind == "flag" else None
        if item.kind == "page":
            results.append(pages[item.name])
        elif flag is not None:
            results.append(describe_flag(around, snapshot.environment.name, flag))
        else:
            results.append(describe(around, item.kind, item.name))
    if all(item.kind == "page" for item in matches):
        results += await _elsewhere(request, around, query, RESULTS_MAX - len(results))
    return page(request, "palette/results.html", results=results)


def _best(pages: list[Candidate], snapshot: Snapshot, query: str) -> list[Candidate]:
    keys = (candidate(entry.kind, key) for key, entry in snapshot.entries.items())
    return list(best([*pages, *keys], query, RESULTS_MAX))


async def _elsewhere(
    request: web.Request, around: Frame, query: str, count: int
) -> list[Destination]:
    """Return the best matches among the flags of the other environments that the caller sees."""
    results: list[Destination] = []
    for environment in around.environments:
        other = await loaded_snapshot(request, environment.name)
        if environment.name == request.match_info["environment"] or other is None:
            continue
        index = await request.app[INDEXES].get(other)
        left = count - len(results)
        matches = await in_thread("palette", partial(_best_keys, index.known, query, left))
        flags = [flag for item in matches if (flag := index.find(item.name)) is not None]
        results += [describe_flag(around, environment.name, flag) for flag in flags]
    return results


def _best_keys(keys: Iterable[str], query: str, count: int) -> list[Candidate]:
    return list(best((candidate("flag", key) for key in keys), query, count))
