"""The versioned store: entries, change sets, snapshots, files in and out."""
