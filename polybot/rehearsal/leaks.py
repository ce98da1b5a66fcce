"""Whether a secret the floor was given stands anywhere in what it wrote: log, journal, database, recordings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

CHUNK = 1 << 20


def leaks(folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """Each file under `folder` that holds one of `secrets` (by name), as text or, for hexadecimal ones, as bytes."""
    marks = {name: _forms(secret) for name, secret in secrets.items()}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        for name in _found(path, marks):
            yield f"{name} stands in {path}"


def _forms(secret: str) -> tuple[bytes, ...]:
    digits = secret.removeprefix("0x")
    try:
        return digits.encode(), digits.upper().encode(), bytes.fromhex(digits)
    except ValueError:
        return (secret.encode(),)


def _found(path: Path, marks: Mapping[str, tuple[bytes, ...]]) -> set[str]:
    """By pieces that overlap, so that nothing hides on a seam."""
    longest = max(len(form) for forms in marks.values() for form in forms)
    found: set[str] = set()
    with path.open("rb") as file:
        tail = b""
        while piece := file.read(CHUNK):
            text = tail + piece
            found |= {name for name, forms in marks.items() if any(form in text for form in forms)}
            tail = text[-longest:]
    return found
