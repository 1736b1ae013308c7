"""flagd's own evaluator, which gets its flags from `flags.json` as flagd's HTTP sync does."""

from typing import Any

from aiohttp import hdrs
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from tests.conftest import Service

LOCAL = "/v1/environments/local"


class Flagd:
    """Polls like flagd: sends its last ETag, and replaces all flags."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._etag = ""
        self._core = FlagdCore()

    async def poll(self) -> int:
        answer = await self._service.client.get(
            f"{LOCAL}/flags.json",
            headers={"Accept": "application/json", "If-None-Match": self._etag},
        )
        if answer.status == 200:
            assert answer.content_type == "application/json"
            self._etag = answer.headers[hdrs.ETAG]
            self._core.set_flags(await answer.text())
        return answer.status

    def evaluate(self, key: str, default: Any, context: dict[str, Any]) -> dict[str, Any]:
        """Return the outcome in OFREP's terms."""
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        user = EvaluationContext(context.get("targetingKey"), attributes)
        by_type: dict[type, Any] = {
            bool: self._core.resolve_boolean_value,
            str: self._core.resolve_string_value,
            int: self._core.resolve_integer_value,
            float: self._core.resolve_float_value,
            dict: self._core.resolve_object_value,
        }
        found = by_type[type(default)](key, default, user)
        return {
            "key": key,
            "reason": str(found.reason),
            "variant": found.variant,
            "value": found.value,
            "metadata": dict(found.flag_metadata),
        }
