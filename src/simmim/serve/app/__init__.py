"""Shows long documents in a browser on this machine: `simmim app`."""
