"""All operators of rules. json-logic's `log` is missing, because it prints."""

from app.evaluation.arrays import ARRAYS
from app.evaluation.comparisons import COMPARISONS
from app.evaluation.compiler import Build
from app.evaluation.data_access import ACCESS
from app.evaluation.flag_operator import FLAGS
from app.evaluation.flagd_operators import FLAGD
from app.evaluation.logic import LOGIC
from app.evaluation.membership import LISTS
from app.evaluation.numbers import NUMBERS
from app.evaluation.strings import TEXTS

OPERATORS: dict[str, Build] = {
    **ACCESS,
    **LOGIC,
    **COMPARISONS,
    **NUMBERS,
    **TEXTS,
    **ARRAYS,
    **FLAGD,
    **FLAGS,
    **LISTS,
}
