"""What changed, and proof of it: the chain of change sets, its signed heads, the schema audit."""
