"""Plan the processes, cores, memory and connections for a load, from measured constants.

`measured.py` reads the constants, `model.py` makes the plan, `spread.py` simulates one change,
`curve.py` draws. `docs/scaling.md` explains the model.
"""
