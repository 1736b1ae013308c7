"""A proposal that is applied in an emergency, without approvals."""

from app.access.models import Scope
from tests.api.configuration.proposal_calls import PROPOSALS, Person, person, protect, put
from tests.conftest import Service


async def _apply(caller: Person, proposal: dict[str, object], text: str = "") -> tuple[int, str]:
    path = f"{PROPOSALS}/{proposal['id']}/apply?emergency=true"
    answer = await caller.call("POST", path, {"text": text}, If_Match=f'"{proposal["version"]}"')
    return answer.status, answer.body.get("code", answer.body.get("state"))


async def test_emergency_applies_a_proposal_with_a_reason(service: Service) -> None:
    await protect(service, approvals=2)
    author = await person(service)
    publisher = await person(service, Scope.READ, Scope.WRITE, Scope.PUBLISH)
    proposal = await author.propose(put("a", 1))

    without_scope = await _apply(author, proposal, "outage")
    without_reason = await _apply(publisher, proposal, " ")
    before = await author.value("a")
    applied = await _apply(publisher, proposal, "outage")
    (change_set, *_) = (await author.get("/v1/environments/staging/changes"))["items"]

    assert without_scope == (403, "scope_missing")
    assert without_reason == (422, "field_invalid")
    assert before is None
    assert applied == (200, "applied")
    assert await author.value("a") == 1
    assert (change_set["kind"], change_set["message"]) == ("proposal", "outage")
    assert change_set["approval"] == {"proposal": str(proposal["id"]), "emergency": True}
