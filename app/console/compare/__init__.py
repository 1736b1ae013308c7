"""Comparisons of two environments or moments, and the promotion of keys."""
