"""From a recipe to a trained model; import the module that you need."""

__all__: list[str] = []
