"""The tests of transformers that a SimMIM model fails, and why: patterns of ``class.test``, each with its reason."""

__all__ = ["KNOWN_FAILURES"]

KNOWN_FAILURES: dict[str, str] = {}
