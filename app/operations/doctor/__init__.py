"""The doctor: every promise of the installation, looked at now."""
