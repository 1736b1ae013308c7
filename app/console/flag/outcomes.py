"""Outcomes of rules as parts of the form, and back: a variant, or a split in percent."""

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import UNSET

from app.console.flag.draft import SPLIT, DraftOutcome, DraftShare, FieldRules
from app.console.flag.values import decode, encode
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Attribute, Outcome, Targeting, VariantShare, VariantSplit
from app.evaluation.rule_writer import write
from app.flags.editing import DECIMALS_MAX

_TOLERANCE = Decimal("0.001")


def draft_outcome(outcome: Any) -> DraftOutcome:
    """Return the part of the form for an outcome, or for UNSET."""
    if outcome is UNSET:
        return DraftOutcome(serve="")
    if not isinstance(outcome, VariantSplit):
        return DraftOutcome(serve=encode(outcome))
    total = sum(share.parts for share in outcome.shares)
    return DraftOutcome(
        serve=SPLIT,
        shares=[
            DraftShare(variant=encode(share.variant), percent=percent_text(share.parts, total))
            for share in outcome.shares
        ],
        by=outcome.attribute.name.strip() if outcome.attribute is not None else "",
        source=encode(write(Targeting(otherwise=outcome))),
    )


def percent_text(parts: int, total: int) -> str:
    """Return a share in percent, with at most 3 decimal places."""
    percent = Decimal(100 * parts) / total if total else Decimal(0)
    return number_text(round(percent, DECIMALS_MAX))


def number_text(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def outcome_of(draft: DraftOutcome, path: str, errors: FieldRules) -> Outcome | Any:
    """Return the outcome that a part of the form describes, and add its errors by field."""
    if draft.serve == "":
        return UNSET
    if draft.serve != SPLIT:
        return _variant_of(draft.serve, f"{path}.serve", errors)
    source = _source_of(draft)
    was = draft_outcome(source) if source is not None else DraftOutcome()
    variants = [
        _variant_of(share.variant, f"{path}.shares.{n}.variant", errors)
        for n, share in enumerate(draft.shares)
    ]
    percents = [share.percent for share in draft.shares]
    weights: list[Any]
    if source is not None and percents == [share.percent for share in was.shares]:
        weights = [share.weight for share in source.shares]
    else:
        weights = _weights_of(percents, path, errors)
    shares = tuple(map(VariantShare, variants, weights))
    by = draft.by.strip()
    if source is not None and by == was.by:
        return msgspec.structs.replace(source, shares=shares)
    if not by:
        return VariantSplit(shares)
    return VariantSplit(shares, Attribute(by), has_flag_key=True)


def _variant_of(text: str, field: str, errors: FieldRules) -> str | bool | None:
    try:
        value = msgspec.json.decode(text.encode(), type=str | bool | None)
    except (msgspec.DecodeError, UnicodeEncodeError):
        errors[field].append("must be a variant")
        return None
    return value


def _weights_of(percents: list[str], path: str, errors: FieldRules) -> list[int]:
    numbers: list[Decimal] = []
    for position, percent in enumerate(percents):
        number = parse_percent(percent)
        if number is None:
            rule = f"must be a number from 0 to 100 with at most {DECIMALS_MAX} decimal places"
            errors[f"{path}.shares.{position}.percent"].append(rule)
        numbers.append(number or Decimal(0))
    if not numbers:
        errors[f"{path}.shares"].append("must have at least one part")
        return []
    missing = 100 - sum(numbers, Decimal(0))
    if abs(missing) <= _TOLERANCE * len(numbers):
        # Thirds are 33.333 each.
        numbers[-1] += missing
    elif f"{path}.shares" not in errors:
        total = number_text(sum(numbers, Decimal(0)))
        errors[f"{path}.shares"].append(f"must add up to 100 %, not to {total} %")
    places = max(-int(number.normalize().as_tuple().exponent) for number in numbers)
    return [int(number.scaleb(max(0, places))) for number in numbers]


def parse_percent(text: str) -> Decimal | None:
    """Return a share in percent, or None for anything else."""
    try:
        number = Decimal(text.strip().removesuffix("%").strip().replace(",", "."))
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 <= number <= 100 or number != round(number, DECIMALS_MAX):
        return None
    return number


def _source_of(draft: DraftOutcome) -> VariantSplit | None:
    tree = read(decode(draft.source))
    split = tree.otherwise if isinstance(tree, Targeting) else None
    return split if isinstance(split, VariantSplit) else None


def fit_outcome(draft: DraftOutcome, variants: list[str]) -> None:
    """Give a new split its first parts: the variants as JSON, in equal shares."""
    if draft.serve != SPLIT or draft.shares:
        return
    names = variants[:2] or ["null"]
    draft.shares = [DraftShare(variant=name, percent=percent_text(1, len(names))) for name in names]
