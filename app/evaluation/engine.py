"""Evaluate one compiled flag. Most outcomes are encoded when the flag is compiled.

The order of decisions and the reasons follow flagd; the JSON of an outcome follows OFREP.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from app.evaluation.compiler import Compiler, Observer
from app.evaluation.flag_operator import unmet_prerequisites
from app.evaluation.logic import chosen
from app.evaluation.nodes import Closure, Location, Node, TextTest, literal
from app.evaluation.operators import OPERATORS
from app.evaluation.parts import Part, Parts
from app.evaluation.plans.compiling import without_plan
from app.evaluation.run import FlagCircleError, RuleError, Run
from app.evaluation.values import number_text

if TYPE_CHECKING:
    from app.evaluation.choices import Choice


# Returns the compiled flag of a key, None if there is no such flag.
FlagOf = Callable[[str], "Flag | None"]


def no_flag(_key: str) -> "Flag | None":
    """Return None: a flag of this set cannot need another one."""


class FlagSet(NamedTuple):
    """The segments, the generation of bucketing, the metadata and the compiled parts that all flags
    share, and the flags that others may need. Without `parts` each flag is compiled alone.
    """

    segments: Mapping[str, Any]
    fractional: str
    metadata: Mapping[str, Any]
    parts: Parts | None = None
    flag_of: FlagOf = no_flag


class Reason(StrEnum):
    """The reason of an outcome, as OFREP defines it. It permits others, such as the last one."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DISABLED = "DISABLED"
    PREREQUISITE_FAILED = "PREREQUISITE_FAILED"


class ErrorCode(StrEnum):
    PARSE_ERROR = "PARSE_ERROR"
    GENERAL = "GENERAL"


class Outcome(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False
):
    """The result of an evaluation. Without a value, the caller's own default applies.

    Such an outcome has an empty variant, because openfeature-provider-ofrep 0.3.0 treats a missing
    one as an error. A failure has no variant.
    """

    # gc=False saves collector time: a flag has several outcomes, and JSON has no cycles.
    key: str
    reason: Reason | None = None
    variant: str | None = None
    value: Any = msgspec.UNSET
    error_code: ErrorCode | None = None
    error_details: str | None = None
    metadata: dict[str, Any] = {}


class EncodedOutcome(msgspec.Struct, frozen=True, gc=False):
    """An outcome and its JSON."""

    outcome: Outcome
    body: bytes


_FOREIGN_BROKEN = "The flag cannot be evaluated with a segment outside of your keys."
_NO_BODIES: Mapping[str, bytes] = {}
_NO_REFERENCES: frozenset[str] = frozenset()


class _Outcomes:
    """The possible outcomes of one flag, each encoded once, and decoded when it is asked for.

    They do not refer to the rule, whose closures refer to them. Without a cycle, a replaced flag is
    freed at once, without the collector.
    """

    __slots__ = ("_by_variant", "_encoded", "_key", "_metadata", "default_body")

    def __init__(
        self, key: str, definition: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        self._key = key
        self._metadata = {**metadata, **_mapping(definition.get("metadata"))}
        # By their bodies. A rule has at most as many results as parts.
        self._encoded: dict[bytes, EncodedOutcome] | None = None
        self._by_variant: Mapping[str, bytes] = _NO_BODIES

        # The outcome without a rule, or when the rule returns null.
        state, targeting = definition.get("state"), definition.get("targeting")
        if state == "DISABLED":
            self.default_body = self._body(reason=Reason.DISABLED, variant="")
        elif state != "ENABLED":
            self.default_body = self.failed("The flag is neither enabled nor disabled.")
        elif not targeting and not definition.get("prerequisites"):
            self.default_body = self._of_default(Reason.STATIC, definition)
        else:
            self.default_body = self._of_default(Reason.DEFAULT, definition)
            self._by_variant = {
                name: self._of_variant(Reason.TARGETING_MATCH, name, value)
                for name, value in _mapping(definition.get("variants")).items()
            }

    def of_result(self, result: Any) -> bytes:
        if result is None:
            return self.default_body
        if type(result) is bool:
            result = "true" if result else "false"
        elif type(result) is int or (type(result) is float and isfinite(result)):
            # NaN and the infinities are not JSON; flagd's evaluators fail on them.
            result = number_text(result)
        body = self._by_variant.get(result) if type(result) is str else None
        if body is None:
            return self.failed("The rule's outcome is no variant of the flag.", ErrorCode.GENERAL)
        return body

    def of_unmet_prerequisite(self, name: Any, definition: Mapping[str, Any]) -> bytes:
        """Return the outcome of the variant of this name; without a name it has no value."""
        reason = Reason.PREREQUISITE_FAILED
        if name is None or name == "":
            return self._body(reason=reason, variant="")
        return self._of_named(reason, name, definition, "off variant")

    def encoded(self, body: bytes) -> EncodedOutcome:
        if self._encoded is None:
            self._encoded = {}
        encoded = self._encoded.get(body)
        if encoded is None:
            outcome = msgspec.json.decode(body, type=Outcome)
            encoded = self._encoded[body] = EncodedOutcome(outcome, body)
        return encoded

    def failed(self, details: str, code: ErrorCode = ErrorCode.PARSE_ERROR) -> bytes:
        return self._body(error_code=code, error_details=details)

    def _of_default(self, reason: Reason, definition: Mapping[str, Any]) -> bytes:
        """Return the outcome of the default variant; without a default it has no value."""
        default = definition.get("defaultVariant")
        if default is None or default == "":
            return self._body(reason=Reason.DEFAULT, variant="")
        return self._of_named(reason, default, definition, "default variant")

    def _of_named(
        self, reason: Reason, name: Any, definition: Mapping[str, Any], role: str
    ) -> bytes:
        variants = _mapping(definition.get("variants"))
        if not isinstance(name, str) or name not in variants:
            return self.failed(f"The {role} is no variant of the flag.")
        return self._of_variant(reason, name, variants[name])

    def _of_variant(self, reason: Reason, name: str, value: Any) -> bytes:
        if value is None:
            # A lenient import accepts null; a client would report a type mismatch.
            return self.failed("The variant has no value.", ErrorCode.GENERAL)
        return self._body(reason=reason, variant=name, value=value)

    def _body(self, **fields: Any) -> bytes:
        return msgspec.json.encode(Outcome(key=self._key, metadata=self._metadata, **fields))


class Flag:
    """A compiled flag. Its outcomes are shared between callers and never change.

    `rule` returns the body of an outcome for a context and a run, or raises. A flag without a rule
    always has the same outcome. `references` are the segments and flags that the rule uses,
    directly or through others, missing ones too. `needs_flags` says that it uses flags, `levels` is
    the length of the longest chain of them, and `nodes` the size of the rule without them.
    `is_circular` says that the flag fails because it needs itself, or needs a flag that does.
    `uses_time` says that the outcome may change with the time: at the seconds in `transitions`, and
    at others too unless `transitions_are_known`. `text_test` is set when the rule only tests
    whether one attribute is one of some strings; otherwise `choice` is set when it chooses among
    known answers. `choice_at` is set when it does so at each instant. `broken_within` are the
    segments around the place where the rule cannot be compiled.
    """

    __slots__ = (
        "_outcomes",
        "_parts",
        "broken_within",
        "choice",
        "choice_at",
        "is_circular",
        "key",
        "levels",
        "needs_flags",
        "nodes",
        "references",
        "rule",
        "text_test",
        "transitions",
        "transitions_are_known",
        "uses_time",
    )

    def __init__(
        self,
        key: str,
        definition: Mapping[str, Any],
        flag_set: FlagSet,
        *,
        observer: Observer | None = None,
    ) -> None:
        # A plan has no effect on what the flag gives while a prerequisite does not hold.
        off_variant = definition.get("offVariant") or definition.get("defaultVariant")
        definition = without_plan(definition)
        self.key = key
        self.references = _NO_REFERENCES
        self.needs_flags = False
        self.is_circular = False
        self.broken_within: tuple[str, ...] = ()
        self.levels = self.nodes = 0
        self.uses_time = False
        self.transitions: Sequence[int] = ()
        self.transitions_are_known = True
        self.text_test: TextTest | None = None
        self.choice: Choice | None = None
        self.choice_at: Callable[[int], Choice | None] | None = None
        self._parts: Sequence[Part] = ()
        self.rule: Closure | None = None
        self._outcomes = _Outcomes(key, definition, flag_set.metadata)
        if definition.get("state") == "ENABLED" and (
            definition.get("targeting") or definition.get("prerequisites")
        ):
            compiler = Compiler(
                flag_key=key,
                segments=flag_set.segments,
                fractional=flag_set.fractional,
                operators=OPERATORS,
                resolve=self._outcomes.of_result,
                flag_of=flag_set.flag_of,
                observer=observer,
                parts=None if observer else flag_set.parts,
            )
            self._compile(definition, off_variant, compiler)

    def evaluate(self, context: Mapping[str, Any], now: int) -> EncodedOutcome:
        """Return the outcome for a context at a time (Unix seconds). Never raises."""
        return self.evaluate_run(Run(context, now))

    def evaluate_run(self, run: Run) -> EncodedOutcome:
        """Return the outcome within the remaining steps of a run. Never raises."""
        return self.encoded(self.body(run.context, run))

    def encoded(self, body: bytes) -> EncodedOutcome:
        """Return the outcome of a body that this flag returned."""
        return self._outcomes.encoded(body)

    def shown_to(self, sees: Callable[[str], bool]) -> "Flag":
        """Return the flag for a reader who sees some segments.

        Its error names no place in another segment.
        """
        if all(map(sees, self.broken_within)):
            return self
        shown = copy(self)
        shown._outcomes = copy(self._outcomes)  # noqa: SLF001 - same class
        shown._outcomes.default_body = self._outcomes.failed(_FOREIGN_BROKEN)  # noqa: SLF001
        return shown

    @property
    def fixed_body(self) -> bytes:
        """The body of the outcome without a rule, or when the rule returns null."""
        return self._outcomes.default_body

    def body(self, context: Mapping[str, Any], run: Run) -> bytes:
        """Return the body of the outcome for a context. Never raises."""
        if self.rule is None:
            return self._outcomes.default_body
        try:
            body: bytes = self.rule(context, run)
        except RuleError as error:
            return self._outcomes.failed(f"{error}.", ErrorCode.GENERAL)
        except Exception:  # noqa: BLE001 - an error must affect this flag only
            details = "The rule cannot be run with this context."
            return self._outcomes.failed(details, ErrorCode.GENERAL)
        return body

    def _compile(self, definition: Mapping[str, Any], off_variant: Any, compiler: Compiler) -> None:
        choice_at = None
        try:
            node = self._rule(definition, off_variant, compiler)
            self.rule, self.choice, choice_at = node.run, node.choice, node.choice_at
        except RuleError as error:
            self._outcomes.default_body = self._outcomes.failed(f"{error}.")
            self.is_circular = isinstance(error, FlagCircleError)
            self.broken_within = error.within
        analysis = compiler.analysis
        self.references = analysis.references
        self.needs_flags = analysis.needs_flags
        self.levels, self.nodes = analysis.flag_levels, compiler.nodes
        self.uses_time = analysis.clocks > 0
        self.transitions = tuple(sorted(analysis.transitions))
        self.transitions_are_known = analysis.clocks == analysis.clocks_compared
        self.text_test = compiler.text_test
        if self.text_test is not None:
            self.choice = None
        if self.transitions_are_known:
            self.choice_at = choice_at
        # Other flags can use these parts as long as this flag holds them in memory.
        self._parts = analysis.parts

    def _rule(self, definition: Mapping[str, Any], off_variant: Any, compiler: Compiler) -> Node:
        prerequisites = definition.get("prerequisites")
        unmet = unmet_prerequisites(compiler, prerequisites) if prerequisites else ()
        # Without targeting, a flag whose prerequisites hold gives its default variant.
        targeting = definition.get("targeting") or None
        if compiler.observer is None:
            node = compiler.compile(targeting, Location("targeting", is_result=True))
        else:
            # The observer must see the results of the rule, not the encoded answers.
            node = compiler.resolved(compiler.compile(targeting, Location("targeting")))
        if not unmet:
            return node
        off = self._outcomes.of_unmet_prerequisite(off_variant, definition)
        answer = literal(off, is_resolved=True)
        return chosen([(condition, answer) for condition in unmet], node)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
