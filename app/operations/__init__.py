"""Operation of the service: metrics, backups, the doctor."""
