"""Headers of answers as text, which snapshots store with each entry."""


def entity_tag(version: int, epoch: str) -> str:
    """Return the ETag of an entry. What has no epoch has its version alone.

    It contains the epoch, because after a restored backup the same version may have other content.
    """
    return f'"{version}-{epoch[:8]}"' if epoch else f'"{version}"'


def revision_header(epoch: str, revision: int) -> dict[str, str]:
    return {"Flagstone-Revision": f"{epoch}:{revision}"}


def header_lines(headers: dict[str, str]) -> bytes:
    """Return headers as bytes. The values must not come from a client."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
