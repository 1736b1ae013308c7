"""HTTP as every feature needs it: decoding, problems, limits, headers, serving. Knows no feature."""
