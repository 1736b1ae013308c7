"""The rules of a flag that is switched off: they return when it is switched on."""

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.views import status_of
from app.errors import NotFound, Unavailable
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced
from app.flags.switching import read_latest_with_targeting
from app.http.keys import DATABASE
from app.names import counted


async def stored_rules(request: web.Request, entry: Configuration) -> str:
    """Return the number of rules in words, empty if the flag is on or never had rules."""
    if status_of(entry.value) != "Off" or entry.value.get("targeting"):
        return ""
    try:
        async with request.app[DATABASE].connection() as connection:
            earlier = await read_latest_with_targeting(connection, entry.environment, entry.key)
    except (NotFound, Unavailable):
        return ""
    if earlier is None:
        return ""
    tree = read(earlier["targeting"])
    if isinstance(tree, Advanced):
        return "rules"
    return counted(len(tree.rules) or 1, "rule")
