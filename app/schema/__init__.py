"""Schema watching: recorded changes, drift, and applied migrations."""
