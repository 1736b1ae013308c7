"""Proof of the history: the chain of change sets, its signed heads, the schema audit."""
