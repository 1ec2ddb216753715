"""Training batches: examples of like length, put together so that segments are shared and shapes are few."""

from plait.lessons.examples import example_lessons
from plait.lessons.lesson import Lesson
from plait.lessons.questions import question_lessons

__all__ = ["Lesson", "example_lessons", "question_lessons"]
