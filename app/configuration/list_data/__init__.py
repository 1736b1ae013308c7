"""The stored states of large lists: their digests, and how they come into memory."""
