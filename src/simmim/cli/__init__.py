"""The command line, one small file a command."""

__all__: list[str] = []
