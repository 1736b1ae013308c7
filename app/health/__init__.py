"""Health: a heartbeat that proves writes, a report of what is known, probes that read memory."""
