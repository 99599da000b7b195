"""Translation of documents: their blocks and marks, formats, models, examples to learn from and metrics."""
