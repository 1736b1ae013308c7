"""`probe`: the state of the service on this host, as an exit code."""

from enum import StrEnum
from typing import Annotated

import typer

from app.errors import ForeseenError
from app.server import probe as local_probe


class ProbedState(StrEnum):
    LIVE = "live"
    STARTED = "started"
    READY = "ready"


class ProbeError(ForeseenError):
    """The service is not in this state."""


def probe(
    state: Annotated[ProbedState, typer.Argument(help="The state to ask for.")] = ProbedState.READY,
) -> None:
    """Ask the service on this host for its state. Exit with 1 if it is not ready.

    It needs no token, and waits 5 seconds at most. It reads HOST and PORT from the environment,
    and not from .env.

    Example: python -m app probe

    Works on: the service that runs on this host.

    Needs: HOST and PORT, if the service does not use their defaults.
    """
    if problem := local_probe.probe(state):
        raise ProbeError(problem)
