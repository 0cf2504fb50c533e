"""English stop words."""

from __future__ import annotations

_ARTICLES_AND_THE_LIKE = """
a an the this that these those all any both each few more most other some such no nor not only own same so than too very
just"""
_PRONOUNS = """
i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
its itself they them their theirs themselves"""
_QUESTIONS = "what which who whom whose when where why how"
_AUXILIARIES = """
am is are was were be been being have has had having do does did doing done can could will would shall should may might
must"""
_PREPOSITIONS_AND_CONJUNCTIONS = """
and but if or because as until while of at by for with about against between into through during before after above
below to from up down in out on off over under again further then once here there now"""
_PARTS_OF_CONTRACTIONS = "s t m d ll re ve don didn doesn isn aren wasn weren won wouldn couldn shouldn hasn haven hadn"

STOP_WORDS = frozenset(
    " ".join(
        (
            _ARTICLES_AND_THE_LIKE,
            _PRONOUNS,
            _QUESTIONS,
            _AUXILIARIES,
            _PREPOSITIONS_AND_CONJUNCTIONS,
            _PARTS_OF_CONTRACTIONS,
        )
    ).split()
)
"""Ignored by keyword search, in documents and queries. With BM25 alone, rare ones such as the "how" and "do" of a
question outweigh its content words (nDCG@10 .48 -> .54 on a collection of technical questions).
"""
