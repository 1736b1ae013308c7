"""One flag, compiled: from a context to an outcome, most of which were encoded beforehand.

The order of decisions and the reasons are flagd's; the shape of an encoded outcome is OFREP's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from app.evaluation.compiler import Closure, Compiler, Observe, Place, Run
from app.evaluation.operators import OPERATORS
from app.evaluation.values import RuleError


class Reason(StrEnum):
    """Why an outcome is what it is, in OFREP's words."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DISABLED = "DISABLED"


class ErrorCode(StrEnum):
    PARSE_ERROR = "PARSE_ERROR"
    GENERAL = "GENERAL"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What an evaluation gives. Without a value the caller's own default holds."""

    key: str
    reason: Reason | None = None
    variant: str | None = None
    value: Any = msgspec.UNSET
    error_code: ErrorCode | None = None
    error_details: str | None = None
    metadata: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An outcome and the JSON of it; told from others by identity, as it is made once."""

    outcome: Outcome
    body: bytes


class Flag:
    """A compiled flag. Its outcomes are shared by everybody who gets them, and never change."""

    __slots__ = (
        "_always",
        "_by_variant",
        "_default",
        "_failure",
        "_metadata",
        "_rule",
        "key",
        "references",
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
        self._metadata = {**metadata, **_mapping(definition.get("metadata"))}
        variants = _mapping(definition.get("variants"))
        default = definition.get("defaultVariant")
        targeting = definition.get("targeting")
        self._rule: Closure | None = None
        self._always: Encoded | None = None
        self._by_variant = {
            name: self._encoded(reason=Reason.TARGETING_MATCH, variant=name, value=value)
            for name, value in variants.items()
        }
        self._default = self._fallback(Reason.DEFAULT, default, variants)
        self._failure = self._encoded_error(
            ErrorCode.GENERAL, "The rule's outcome is no variant of the flag."
        )
        if definition.get("state") == "DISABLED":
            self._always = self._encoded(reason=Reason.DISABLED)
        elif definition.get("state") != "ENABLED":
            self._always = self._encoded_error(
                ErrorCode.PARSE_ERROR, "The flag is neither enabled nor disabled."
            )
        elif not targeting:
            self._always = self._fallback(Reason.STATIC, default, variants)
        else:
            self._compile(targeting, segments, fractional, observe)

    def evaluate(self, context: Mapping[str, Any], now: int) -> Encoded:
        """Return the outcome for a context at a time (Unix seconds). Never raises."""
        if self._always is not None:
            return self._always
        assert self._rule is not None  # noqa: S101 - a flag has one or the other
        try:
            result = self._rule(context, Run(context, now))
        except RuleError as error:
            return self._encoded_error(ErrorCode.GENERAL, f"{error}.")
        except Exception:  # noqa: BLE001 - whatever it is stays with this flag
            return self._encoded_error(
                ErrorCode.GENERAL, "The rule cannot be run with this context."
            )
        if result is None:
            return self._default
        if type(result) is bool:
            result = "true" if result else "false"
        if type(result) is str:
            return self._by_variant.get(result, self._failure)
        return self._failure

    def _compile(
        self,
        targeting: Any,
        segments: Mapping[str, Any],
        fractional: str,
        observe: Observe | None,
    ) -> None:
        compiler = Compiler(
            flag_key=self.key,
            segments=segments,
            fractional=fractional,
            operators=OPERATORS,
            observe=observe,
        )
        try:
            self._rule = compiler.compile(targeting, Place("targeting")).run
        except RuleError as error:
            self._always = self._encoded_error(ErrorCode.PARSE_ERROR, f"{error}.")
        self.references = frozenset(compiler.references)
        self.uses_time = compiler.uses_time

    def _fallback(self, reason: Reason, default: Any, variants: Mapping[str, Any]) -> Encoded:
        """Return the default variant's outcome, or that of a flag which has none."""
        if default is None or default == "":
            return self._encoded(reason=Reason.DEFAULT)
        if not isinstance(default, str) or default not in variants:
            return self._encoded_error(
                ErrorCode.PARSE_ERROR, "The default variant is no variant of the flag."
            )
        return self._encoded(reason=reason, variant=default, value=variants[default])

    def _encoded_error(self, code: ErrorCode, details: str) -> Encoded:
        return self._encoded(error_code=code, error_details=details)

    def _encoded(self, **fields: Any) -> Encoded:
        outcome = Outcome(key=self.key, metadata=self._metadata, **fields)
        return Encoded(outcome, msgspec.json.encode(outcome))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
