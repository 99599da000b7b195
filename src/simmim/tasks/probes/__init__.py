"""Generated tasks that show what far context is worth; ``PROBES`` has them by name."""

from simmim.tasks.probes.answers import ask, batch_of
from simmim.tasks.probes.copying import Copying
from simmim.tasks.probes.forms import FORMS, Form, model_config
from simmim.tasks.probes.listops import ListOps
from simmim.tasks.probes.passkey import Passkey
from simmim.tasks.probes.probe import IGNORED, PROBES, Example, Probe, ProbeSettings
from simmim.tasks.probes.recall import Recall
from simmim.tasks.probes.scoring import Accuracy, Score, guess_from_clue, score

__all__ = [
    "FORMS",
    "IGNORED",
    "PROBES",
    "Accuracy",
    "Copying",
    "Example",
    "Form",
    "ListOps",
    "Passkey",
    "Probe",
    "ProbeSettings",
    "Recall",
    "Score",
    "ask",
    "batch_of",
    "guess_from_clue",
    "model_config",
    "score",
]
