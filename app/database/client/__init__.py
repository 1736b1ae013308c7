"""Connections: the pool and its limits, the statements, and errors of the drivers."""
