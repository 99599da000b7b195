"""What a model is asked to do: examples in, metrics out; import the module of the task."""

__all__: list[str] = []
