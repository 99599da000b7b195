"""The tasks that a recipe can name: importing this registers ours."""

from simmim.tasks.dialogue.training import Dialogue
from simmim.tasks.language_modelling.training import LanguageModelling
from simmim.tasks.summarization.training import Summarization
from simmim.tasks.training.task import TASKS, TrainingTask
from simmim.tasks.translation.training import Translation

__all__ = ["TASKS", "Dialogue", "LanguageModelling", "Summarization", "TrainingTask", "Translation"]
