"""Evaluation of flags: pure, without I/O, clock or randomness.

`ruleset.py` holds the flags of an environment, `engine.py` makes an outcome of one and a context,
`compiler.py` turns its rule into closures. What an operator does is in the module of its kind, and
`operators.py` lists them; what values are is in `values.py`, and what anything costs in `run.py`.

rule      what a flag or a segment decides by: JSON, in which an object of one name is an operator
context   what is known of whom or what a flag is evaluated for
data      what `var` looks into: the context, or within a loop an element
node      a part of a rule; the price of a rule is counted in them when it is compiled
step      a part of an evaluation; its price is counted in them when it runs
outcome   what an evaluation gives: a variant with its value, the caller's own default, or an error
"""
