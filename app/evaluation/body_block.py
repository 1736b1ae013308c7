"""The bodies of several outcomes that are known together. They are counted and sent as one."""

from collections.abc import Sequence


class BodyBlock:
    """The bodies of several outcomes, and all of them joined by commas."""

    __slots__ = ("bodies", "joined")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.joined = b",".join(bodies)
