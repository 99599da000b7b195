"""Generated tasks that show what far context is worth; ``PROBES`` has them by name."""

from simmim.tasks.probes.copying import Copying
from simmim.tasks.probes.listops import ListOps
from simmim.tasks.probes.passkey import Passkey
from simmim.tasks.probes.probe import IGNORED, PROBES, Example, Probe
from simmim.tasks.probes.recall import Recall

__all__ = ["IGNORED", "PROBES", "Copying", "Example", "ListOps", "Passkey", "Probe", "Recall"]
