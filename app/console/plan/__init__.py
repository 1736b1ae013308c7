"""The plan of a flag: timeline, forecast, editor and controls.

draft.py      the fields of the editor, and the plan that they describe
timeline.py   the steps and the curve of the percentage, as plain data
forecast.py   who gets what at an instant
handlers.py   the tab of the flag's page, and the editor's form
control.py    pause, continue, skip and return, each after a confirmation
"""
