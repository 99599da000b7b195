"""The task `summarization`: from a document to its summary."""
