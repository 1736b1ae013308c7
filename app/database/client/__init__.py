"""Connections: the pool and its limits, the statements, errors of the drivers."""
