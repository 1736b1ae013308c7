"""One flag, compiled: from a context to an outcome, most of which were encoded beforehand.

The order of decisions and the reasons are flagd's; the shape of an encoded outcome is OFREP's.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import isfinite
from typing import Any

import msgspec

from app.evaluation.compiler import Compiler, Observe
from app.evaluation.nodes import Among, Closure, Location
from app.evaluation.operators import OPERATORS
from app.evaluation.run import RuleError, Run
from app.evaluation.values import number_text


class Reason(StrEnum):
    """Why an outcome is what it is, in OFREP's words."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DISABLED = "DISABLED"


class ErrorCode(StrEnum):
    PARSE_ERROR = "PARSE_ERROR"
    GENERAL = "GENERAL"


class Outcome(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False
):
    """What an evaluation gives. Without a value the caller's own default holds.

    Such an outcome has an empty variant: openfeature-provider-ofrep 0.3.0 takes a missing one for
    an error. A failure has none.

    The collector need not look at it: JSON has no cycles, and there are several to a flag.
    """

    key: str
    reason: Reason | None = None
    variant: str | None = None
    value: Any = msgspec.UNSET
    error_code: ErrorCode | None = None
    error_details: str | None = None
    metadata: dict[str, Any] = {}


class EncodedOutcome(msgspec.Struct, frozen=True, gc=False):
    """An outcome and the JSON of it."""

    outcome: Outcome
    body: bytes


class _Outcomes:
    """The outcomes that one flag can have, each made and encoded once.

    They know nothing of the rule, whose closures hold on to them: so a flag that is replaced is
    gone at once, and the collector, which may not look at it, is not needed.
    """

    __slots__ = ("_by_variant", "_key", "_metadata", "encoded", "otherwise")

    def __init__(
        self, key: str, definition: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        self._key = key
        self._metadata = {**metadata, **_mapping(definition.get("metadata"))}
        # By their bodies: what a rule can give, which is never more than it has parts.
        self.encoded: dict[bytes, EncodedOutcome] = {}
        self._by_variant: dict[str, bytes] = {}

        # Where the rule gives null, or where there is none.
        state, targeting = definition.get("state"), definition.get("targeting")
        if state == "DISABLED":
            self.otherwise = self._made(reason=Reason.DISABLED, variant="")
        elif state != "ENABLED":
            self.otherwise = self.failed("The flag is neither enabled nor disabled.")
        elif not targeting:
            self.otherwise = self._of_default(Reason.STATIC, definition)
        else:
            self.otherwise = self._of_default(Reason.DEFAULT, definition)
            self._by_variant = {
                name: self._of_variant(Reason.TARGETING_MATCH, name, value)
                for name, value in _mapping(definition.get("variants")).items()
            }

    def of_result(self, result: Any) -> bytes:
        """Return the body of the outcome when the rule gives this."""
        if result is None:
            return self.otherwise
        if type(result) is bool:
            result = "true" if result else "false"
        elif type(result) is int or (type(result) is float and isfinite(result)):
            # NaN and the infinities are no JSON: flagd's evaluators fail on them.
            result = number_text(result)
        found = self._by_variant.get(result) if type(result) is str else None
        if found is None:
            return self.failed("The rule's outcome is no variant of the flag.", ErrorCode.GENERAL)
        return found

    def failed(self, details: str, code: ErrorCode = ErrorCode.PARSE_ERROR) -> bytes:
        return self._made(error_code=code, error_details=details)

    def _of_default(self, reason: Reason, definition: Mapping[str, Any]) -> bytes:
        """Return the default variant's outcome, or that of a flag which has none."""
        default, variants = definition.get("defaultVariant"), _mapping(definition.get("variants"))
        if default is None or default == "":
            return self._made(reason=Reason.DEFAULT, variant="")
        if not isinstance(default, str) or default not in variants:
            return self.failed("The default variant is no variant of the flag.")
        return self._of_variant(reason, default, variants[default])

    def _of_variant(self, reason: Reason, name: str, value: Any) -> bytes:
        if value is None:
            # A lenient import lets it pass; a client would take it for the wrong type of value.
            return self.failed("The variant has no value.", ErrorCode.GENERAL)
        return self._made(reason=reason, variant=name, value=value)

    def _made(self, **fields: Any) -> bytes:
        """Return the body of an outcome, the same object for the same outcome."""
        outcome = Outcome(key=self._key, metadata=self._metadata, **fields)
        body = msgspec.json.encode(outcome)
        return self.encoded.setdefault(body, EncodedOutcome(outcome, body)).body


class Flag:
    """A compiled flag. Its outcomes are shared by everybody who gets them, and never change.

    `rule` gives the body of an outcome for a context and a run, or raises; a flag without one
    always has the same outcome. `references` are the segments that the rule uses, also those that
    are missing; `uses_time` tells whether its outcome may change by itself: at the instants
    `turns`, and also at others unless `turns_are_known`; `asks` is all that the rule asks of the
    context, if that is whether one attribute is one of some texts.
    """

    __slots__ = (
        "_outcomes",
        "asks",
        "key",
        "references",
        "rule",
        "turns",
        "turns_are_known",
        "uses_time",
    )

    def __init__(
        self,
        key: str,
        definition: Mapping[str, Any],
        *,
        segments: Mapping[str, Any],
        fractional: str,
        metadata: Mapping[str, Any],
        observe: Observe | None = None,
    ) -> None:
        self.key = key
        self.references: frozenset[str] = frozenset()
        self.uses_time = False
        self.turns: Sequence[int] = ()
        self.turns_are_known = True
        self.asks: Among | None = None
        self.rule: Closure | None = None
        self._outcomes = _Outcomes(key, definition, metadata)
        targeting = definition.get("targeting")
        if definition.get("state") == "ENABLED" and targeting:
            compiler = Compiler(
                flag_key=key,
                segments=segments,
                fractional=fractional,
                operators=OPERATORS,
                finish=self._outcomes.of_result,
                observe=observe,
            )
            self._compile(targeting, compiler)

    def evaluate(self, context: Mapping[str, Any], now: int) -> EncodedOutcome:
        """Return the outcome for a context at a time (Unix seconds). Never raises."""
        return self.evaluated(Run(context, now))

    def evaluated(self, run: Run) -> EncodedOutcome:
        """Return the outcome within the steps that a run has left. Never raises."""
        return self._outcomes.encoded[self.body(run.context, run)]

    @property
    def fixed(self) -> bytes:
        """The body of its outcome when it has no rule, or when that gives null."""
        return self._outcomes.otherwise

    def body(self, context: Mapping[str, Any], run: Run) -> bytes:
        """Return the body of the outcome for a context. Never raises."""
        if self.rule is None:
            return self._outcomes.otherwise
        try:
            found: bytes = self.rule(context, run)
        except RuleError as error:
            return self._outcomes.failed(f"{error}.", ErrorCode.GENERAL)
        except Exception:  # noqa: BLE001 - whatever it is stays with this flag
            details = "The rule cannot be run with this context."
            return self._outcomes.failed(details, ErrorCode.GENERAL)
        return found

    def _compile(self, targeting: Any, compiler: Compiler) -> None:
        try:
            if compiler.observe is None:
                self.rule = compiler.compile(targeting, Location("targeting", is_last=True)).run
            else:
                # Who looks on is to see what the rule gives, and not what is made of it.
                self.rule = compiler.finished(
                    compiler.compile(targeting, Location("targeting"))
                ).run
        except RuleError as error:
            self._outcomes.otherwise = self._outcomes.failed(f"{error}.")
        self.references = frozenset(compiler.references)
        self.uses_time = compiler.uses_time
        self.turns = tuple(sorted(compiler.turns))
        self.turns_are_known = compiler.turns_are_known
        self.asks = compiler.asks


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
