"""The doctor: check every promise of the installation now, and change nothing."""
