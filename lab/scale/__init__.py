"""What training on many processes costs: measured on a few of them, counted in bytes, and simulated for many."""
