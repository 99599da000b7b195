"""The formats of documents that can be translated, a file each."""
