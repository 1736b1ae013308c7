"""OFREP 0.3.0: OpenFeature's remote evaluation protocol, answered from the compiled rules."""
