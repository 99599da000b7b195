"""Studies how well questions about long documents are answered, whatever the format of the document."""
