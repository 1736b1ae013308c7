"""PostgreSQL: the pool and its limits, the statements, the schema's history, the embedded server.

Knows no HTTP and no feature's code, so that a script or another service can use it as it is. What
it must know of the tables is in one place, `rights.py`.
"""

from app.database.client.commits import Commit
from app.database.client.pool import Connection, Database, PoolUse, after_commit, announce
from app.database.client.statements import sql

__all__ = ["Commit", "Connection", "Database", "PoolUse", "after_commit", "announce", "sql"]
