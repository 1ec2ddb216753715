"""Fewer tokens: some of a group are kept, and may stand for the others. The one face of this sealed room."""

from plait.selection.kept import SELECTORS, Kept, reduce

__all__ = ["SELECTORS", "Kept", "reduce"]
