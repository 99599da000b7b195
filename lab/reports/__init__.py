"""Reports of evaluations for people: HTML files made of what `simmim evaluate --output` writes."""

__all__: list[str] = []
