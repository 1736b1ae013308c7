"""Headers of answers, as text: what a snapshot keeps beside each of its entries."""


def entity_tag(version: int, epoch: str) -> str:
    """Return the tag of an entry: after a backup was restored, an old version may come again with
    another content, and must not be taken for the old one.
    """
    return f'"{version}-{epoch[:8]}"'


def revision_header(epoch: str, revision: int) -> dict[str, str]:
    """Return the header that says which moment an answer is from."""
    return {"Flagstone-Revision": f"{epoch}:{revision}"}


def header_lines(headers: dict[str, str]) -> bytes:
    """Return headers as they stand in a head. None of them may come from a client."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
