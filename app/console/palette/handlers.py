"""The results of the palette: keys of one environment, other environments, and pages."""

from aiohttp import web

from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Snapshot
from app.console.palette.ranking import Candidate, best, candidate
from app.console.palette.views import describe, destinations
from app.console.rendering import frame, page
from app.threads import in_thread

RESULTS_MAX = 12


async def search_palette(request: web.Request) -> web.Response:
    """Get what matches the query best, as a fragment."""
    snapshot = request.app[FOLLOWER].get(request.match_info["environment"])
    around = frame(request)
    pages = destinations(around)
    query = request.query.get("q", "")
    if not query.strip():
        return page(request, "palette/results.html", results=list(pages.values())[:RESULTS_MAX])
    names = [candidate("page", name) for name in pages]
    matches = await in_thread("palette", lambda: _best(names, snapshot, query))
    results = [
        pages[item.name] if item.kind == "page" else describe(around, item.kind, item.name)
        for item in matches
    ]
    return page(request, "palette/results.html", results=results)


def _best(pages: list[Candidate], snapshot: Snapshot, query: str) -> list[Candidate]:
    keys = (candidate(entry.kind, key) for key, entry in snapshot.entries.items())
    return list(best([*pages, *keys], query, RESULTS_MAX))
