"""An index, or a model alone, over HTTP. `create_app` is its one face; `plait serve` runs it."""

from plait.server.app import create_app

__all__ = ["create_app"]
