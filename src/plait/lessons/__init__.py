"""Training batches: examples of like length, put together so that segments are shared and shapes are few."""

from plait.lessons.examples import example_lessons, first_of
from plait.lessons.lesson import Lesson
from plait.lessons.questions import question_lessons

__all__ = ["Lesson", "example_lessons", "first_of", "question_lessons"]
