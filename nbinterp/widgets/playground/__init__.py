"""The playground's Python side: a stack of interventions that the hand tunes while the model answers."""

from nbinterp.widgets.playground.playground import Playground

__all__ = ["Playground"]
