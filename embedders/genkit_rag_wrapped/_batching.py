"""How much goes into one call, and what happens to a text that is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CHARACTERS_OF_A_TOKEN = 4
"""About this many bytes of English text make a token, where the embedder does not count itself."""

Count = Callable[[str], int]


def estimate(text: str) -> int:
    """Estimate the number of tokens: a quarter of the UTF-8 bytes, which also fits other scripts."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // CHARACTERS_OF_A_TOKEN)


def batches(sizes: Sequence[int], max_texts: int, max_tokens: int | None) -> list[range]:
    """Yield the positions of each call, in order, within both limits; a larger text gets its own call."""
    found: list[range] = []
    start = tokens = 0
    for position, size in enumerate(sizes):
        over = max_tokens is not None and tokens + size > max_tokens
        if position > start and (over or position - start >= max_texts):
            found.append(range(start, position))
            start, tokens = position, 0
        tokens += size
    if start < len(sizes):
        found.append(range(start, len(sizes)))
    return found


def cut(text: str, limit: int, count: Count) -> str:
    """Return the longest prefix of the text with at most `limit` tokens, found by bisection."""
    fits, too_long = 0, len(text) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if count(text[:middle]) <= limit:
            fits = middle
        else:
            too_long = middle
    return text[:fits]
