"""The task `language-modelling`: predict every token of a text from those before it."""
