"""The servers of this folder's tests, each started when the first test asks for it."""

from tests.database.full_postgres import plain_server, tls_server

__all__ = ["plain_server", "tls_server"]
