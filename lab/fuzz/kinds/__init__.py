"""The kinds of input: a file each, with one function that makes an input and judges what becomes of it."""
