"""Evaluation of flags over OFREP, their usage, and explanations of results."""
