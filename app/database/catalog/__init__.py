"""The schema as the server describes it: fingerprint, record of DDL, event triggers."""
