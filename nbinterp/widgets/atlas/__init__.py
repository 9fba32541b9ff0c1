"""The atlas: one cloud in several pictures that share one selection, and what a selection can become."""

from nbinterp.widgets.atlas.atlas import Atlas

__all__ = ["Atlas"]
