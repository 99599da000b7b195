"""The tasks that a recipe can name: importing this registers ours."""

from simmim.train.dialogue import Dialogue
from simmim.train.language_modelling import LanguageModelling
from simmim.train.summarization import Summarization
from simmim.train.task import TASKS, TrainingTask
from simmim.train.translation import Translation

__all__ = ["TASKS", "Dialogue", "LanguageModelling", "Summarization", "TrainingTask", "Translation"]
