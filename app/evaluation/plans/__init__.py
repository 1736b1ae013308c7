"""Plans: steps in a flag's definition, each with the instant at which it begins.

`plan.py` reads a plan, `periods.py` says what applies when, and `compiling.py` turns a definition
with a plan into a plain one of flagd. `status.py` says where a plan is at an instant, `control.py`
pauses, continues, skips and stops it. All are pure: an instant is a parameter, in Unix seconds.

step      a change of state, default variant, rollout or targeting that begins at an instant
rollout   the share of the contexts that no rule catches, and the variant that it gets
period    the time from one change of a definition to the next one
hold      a condition for the begin of a step: an approval, or a wait of some minutes
"""
