"""What is minted in a run, and in which order. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from diagnose.records import API_KEY, SECOND, Variant
from mint.settings import FLAT_FIELD, GA_FIELD


def variants(*, transcribed: bool, identity: bool, api_key: bool, second: bool) -> list[Variant]:
    """Return the kinds of mint to make, those that settle most first.

    Without an identity that may mint only the key is tried; it is not known to be the second resource's.
    """
    base = [Variant(field) for field in ([None, GA_FIELD, FLAT_FIELD] if transcribed else [None])]
    return [
        *(base if identity else []),
        *([replace(one, expires_after=True) for one in base] if identity else []),
        *([replace(one, auth=API_KEY) for one in base] if api_key else []),
        *([replace(one, where=SECOND) for one in base] if identity and second else []),
    ]


def interleaved(kinds: Sequence[Variant], repeat: int) -> Iterator[tuple[int, Variant]]:
    """Yield each kind once a round, each round starting with the next, so that no kind has a time of its own."""
    for number in range(repeat):
        turn = number % len(kinds)
        for kind in (*kinds[turn:], *kinds[:turn]):
            yield number + 1, kind
