"""Splitters: text, sentences, code, and by similarity."""
