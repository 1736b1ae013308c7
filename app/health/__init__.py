"""The heartbeat, which proves that writes succeed; the probes and the report."""
