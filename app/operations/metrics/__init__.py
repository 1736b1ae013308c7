"""Metrics for Prometheus: read from memory at each scrape, from all workers."""
