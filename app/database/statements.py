"""Every statement of `sql/`, by name: `await sql.get_thing(connection, key=…)`.

aiosql's adapter for asyncpg keeps parameters by bare name, so names are unique across all files;
a test holds that, and prepares each statement against the schema.
"""

from pathlib import Path

import aiosql

FOLDER = Path(__file__).parents[2] / "sql"

sql = aiosql.from_path(FOLDER, "asyncpg")
