"""Functions on tensors: the equations, and their fast forms. Nothing here has parameters."""
