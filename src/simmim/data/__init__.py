"""Where text comes from: named corpora, a user's own examples, the tokenizer; import the module that you need."""

__all__: list[str] = []
