"""What is learnt from: the sections of a recipe, the task that it names, and batches."""
