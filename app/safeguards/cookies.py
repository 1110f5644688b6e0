"""Reading our cookies: the very name, once, or not at all.

Browsers keep `__Host-` names for the host that set them, but only for names that begin so byte by byte. A name with a
byte before it that a lenient reader strips (0xA0, 0x85) is under no such rule, and any sibling host could plant it.
"""

from collections.abc import Iterable, Iterator


def own_cookie(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the content of the cookie `name`; none where it is missing, there twice, or has a look-alike."""
    found = [(exact, value) for exact, lenient, value in _pairs(headers) if lenient == name.lower()]
    if len(found) != 1 or found[0][0] != name:
        return None
    return found[0][1]


def is_doubtful(headers: Iterable[tuple[bytes, bytes]], name: str) -> bool:
    """Say whether a browser sends something under this name, or one like it, of which we can't say that it is ours."""
    headers = list(headers)
    is_there = any(lenient == name.lower() for _, lenient, _ in _pairs(headers))
    return is_there and own_cookie(headers, name) is None


def _pairs(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str, str]]:
    """Yield each pair: its name as browsers know it, as the most lenient reader would read it, and its content."""
    for header, content in headers:
        for part in content.split(b";") if header == b"cookie" else ():
            name, _, value = part.decode("latin-1").partition("=")
            yield name.strip(" \t"), name.strip().lower(), value.strip(" \t")
