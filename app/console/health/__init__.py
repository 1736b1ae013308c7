"""Pages about the service itself: health, the doctor and the schema.

heartbeats.py  the strip of heartbeats, from the table
rates.py       the rate of evaluations, sampled in memory
"""
