"""What a library's error says, as one short line."""

from __future__ import annotations


def say(err: BaseException, *, most: int = 120) -> str:
    """Return the kind of the error and its message without line breaks, or the kind alone where it says nothing."""
    text = " ".join(str(err).split())[:most]
    return f"{type(err).__name__}: {text}" if text else type(err).__name__
