"""Tokens over HTTP: list, make, replace, revoke; above the changes for their Idempotency-Key."""
