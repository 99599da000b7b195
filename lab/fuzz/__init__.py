"""Generates bad inputs of every kind that the library takes, and judges what it makes of them."""
