"""Metrics, as Prometheus reads them: gathered when they are asked for, whole across workers."""
