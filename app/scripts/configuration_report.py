"""Show the entries, sizes and last change of each environment."""

from typing import Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from app.database import sql
from app.scripts import Resources, run_script

_BAR_WIDTH = 20
_KINDS = ("settings", "flags", "segments", "secrets")


async def main(resources: Resources) -> None:
    async with resources.database.connection() as connection:
        rows = [dict(row) async for row in sql.summarise_configurations(connection)]

    console = Console()
    console.print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("environment", title="Configurations by environment")
    for heading in ("revision", "entries"):
        table.add_column(heading, justify="right")
    table.add_column("", min_width=_BAR_WIDTH, no_wrap=True)
    table.add_column("of these")
    for heading in ("bytes", "largest"):
        table.add_column(heading, justify="right")
    table.add_column("last change")
    totals = [sum(row[kind] for kind in _KINDS) for row in rows]
    for row, total in zip(rows, totals, strict=True):
        table.add_row(
            row["name"],
            str(row["revision"]),
            str(total),
            Bar(max(totals), 0, total, width=_BAR_WIDTH),
            ", ".join(f"{row[kind]} {kind}" for kind in _KINDS if row[kind]),
            f"{row['value_bytes']:,}",
            f"{row['largest_bytes']:,}",
            _last_change(row),
        )
    return table


def _last_change(row: dict[str, Any]) -> str:
    if row["last_changed_at"] is None:
        return "never"
    return f"{row['last_changed_at']:%Y-%m-%d %H:%M} by {row['last_actor']}"


if __name__ == "__main__":
    run_script(main)
