"""JSON Schemas of values. Costly checks run in separate processes with limits."""
