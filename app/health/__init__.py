"""Health: a heartbeat that proves writes, a report of all that is known, probes that read memory."""
