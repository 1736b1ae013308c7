"""Evaluate flags: pure code, without I/O, clock or randomness.

`ruleset.py` has the flags of an environment, `engine.py` evaluates one flag for a context, and
`compiler.py` compiles its rule to closures. `operators.py` lists the operators, which are in one
module per kind. `bulk.py` evaluates all flags together. `values.py` converts and compares values as
JavaScript does; `run.py` limits costs.

rule      the JSON that a flag or segment decides by; an object with one member is an operator
context   the attributes that a flag is evaluated for
data      what `var` reads from: the context, or the element inside a loop
node      a compiled piece of a rule; the size of a rule is limited in nodes
part      a segment or a condition that is compiled once for the flags that share it
choice    the conditions of a rule, and its known answers in their order
step      a unit of work of an evaluation; the cost of an evaluation is limited in steps
outcome   the result of an evaluation: a variant with its value, the caller's default, or an error
"""
