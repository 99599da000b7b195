"""Studies, probes and tools of development that use the library; none of it is in the wheel."""
