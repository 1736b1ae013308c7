"""Evaluation of flags: pure, without I/O, clock or randomness."""
