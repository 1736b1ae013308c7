"""Every operator that a rule may use; json-logic's `log` is left out, as it prints."""

from app.evaluation.access import ACCESS
from app.evaluation.arrays import ARRAYS
from app.evaluation.compiler import Build
from app.evaluation.flagd import FLAGD
from app.evaluation.logic import LOGIC
from app.evaluation.plain import PLAIN

OPERATORS: dict[str, Build] = {**ACCESS, **LOGIC, **PLAIN, **ARRAYS, **FLAGD}
