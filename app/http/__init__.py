"""HTTP as every feature needs it: decoding, problems, limits, serving. Knows no feature."""
