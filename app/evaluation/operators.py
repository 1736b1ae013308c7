"""Every operator that a rule may use; json-logic's `log` is left out, as it prints."""

from app.evaluation.access import ACCESS
from app.evaluation.arrays import ARRAYS
from app.evaluation.comparisons import COMPARISONS
from app.evaluation.compiler import Build
from app.evaluation.flagd import FLAGD
from app.evaluation.logic import LOGIC
from app.evaluation.numbers import NUMBERS
from app.evaluation.texts import TEXTS

OPERATORS: dict[str, Build] = {
    **ACCESS,
    **LOGIC,
    **COMPARISONS,
    **NUMBERS,
    **TEXTS,
    **ARRAYS,
    **FLAGD,
}
