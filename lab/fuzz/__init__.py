"""Fuzzes the library: generates bad inputs of every kind and judges the outcome."""
