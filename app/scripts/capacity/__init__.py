"""How many processes, cores, bytes and connections a load needs, from measured constants.

`measured.py` reads the constants, `model.py` makes the plan, `spread.py` simulates one change,
`curve.py` draws. `docs/scaling.md` explains the model.
"""
