"""Fixtures of full servers. Each server starts when the first test uses it."""

from tests.database.full_postgres import plain_server, tls_server

__all__ = ["plain_server", "tls_server"]
