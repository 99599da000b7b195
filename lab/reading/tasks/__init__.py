"""Documents with questions, their answers and the place of the evidence: what the studies of reading ask."""
