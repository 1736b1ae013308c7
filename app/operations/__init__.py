"""What operators use beside the API: metrics, backups, the doctor."""
