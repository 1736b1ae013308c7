"""PostgreSQL: the pool and its limits, the statements, the schema's history, the embedded server.

Knows no feature and no HTTP, so that a script or another service can use it as it is.
"""

from app.database.pool import Connection, Database, PoolUse
from app.database.statements import sql

__all__ = ["Connection", "Database", "PoolUse", "sql"]
