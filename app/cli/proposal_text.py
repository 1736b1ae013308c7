"""Print proposals as text."""

from app.access.actors import distinct_names
from app.cli.terminal import console, shortened, show_table
from app.configuration.changes.requests import AnyOperation, DeleteOperation, PutOperation
from app.configuration.proposals.states import IN_REVIEW
from app.configuration.proposals.views import ProposalView
from app.names import counted


def show_step(proposal: ProposalView) -> None:
    """Print the state of a proposal after a step, and what it needs next."""
    console.print(f"proposal {proposal.id} is {proposal.state} (version {proposal.version})")
    for text in _needs(proposal):
        console.print(text)


def show_proposal(proposal: ProposalView) -> None:
    """Print a whole proposal."""
    console.print(proposal.title)
    show_step(proposal)
    if proposal.apply_at is not None:
        console.print(f"applied at {proposal.apply_at:%Y-%m-%d %H:%M:%S %Z}")
    for name, revision in (proposal.applied or {}).items():
        console.print(f"applied as revision {revision} of {name}")
    if proposal.reason:
        console.print(f"because: {proposal.reason}")
    if proposal.message:
        console.print(f"message: {proposal.message}")
    console.print()
    show_table(("environment", "change", "version"), map(_operation, proposal.operations))
    console.print()
    names = distinct_names((event.actor, event.actor_name) for event in proposal.events)
    show_table(
        ("when", "who", "what", "text"),
        [
            (f"{event.at:%Y-%m-%d %H:%M:%S}", names[event.actor], event.event, event.text)
            for event in proposal.events
        ],
    )


def _needs(proposal: ProposalView) -> list[str]:
    if proposal.state not in IN_REVIEW:
        return []
    return [
        f"{item.environment} needs {counted(item.missing, 'more approval')}"
        for item in proposal.approvals
        if item.missing
    ]


def _operation(operation: AnyOperation) -> tuple[str, str, str | int]:
    name = operation.environment or ""
    if isinstance(operation, PutOperation):
        value = "a secret" if operation.kind == "secret" else shortened(operation.value)
        return name, f"set {operation.key} to {value}", operation.version or "new"
    if isinstance(operation, DeleteOperation):
        return name, f"delete {operation.key}", operation.version
    return name, "change the properties", operation.version
