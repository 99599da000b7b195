"""Measurements of SimMIM beside its peers; ``benchmarks/README.md`` says how to run and read them."""
