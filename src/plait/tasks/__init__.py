"""What heads are trained to give: one file a task, each with its loss against labels and against a teacher."""

from plait.tasks.classes import Classes, class_name
from plait.tasks.kinds import KINDS, require_roles, unanswerable
from plait.tasks.lists import Lists, group_name
from plait.tasks.spans import Spans
from plait.tasks.target import Target, Weights
from plait.tasks.texts import Texts, text_of
from plait.tasks.values import Values, number_of

__all__ = [
    "KINDS",
    "Classes",
    "Lists",
    "Spans",
    "Target",
    "Texts",
    "Values",
    "Weights",
    "class_name",
    "group_name",
    "number_of",
    "require_roles",
    "text_of",
    "unanswerable",
]
