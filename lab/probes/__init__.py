"""Generated tasks that show what far context is worth; ``PROBES`` has them by name."""

from lab.probes.answers import ask, batch_of
from lab.probes.copying import Copying
from lab.probes.forms import FORMS, Form, model_config
from lab.probes.listops import ListOps
from lab.probes.passkey import Passkey
from lab.probes.probe import IGNORED, PROBES, Example, Probe, ProbeSettings
from lab.probes.recall import Recall
from lab.probes.scoring import Accuracy, Score, guess_from_clue, score

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
