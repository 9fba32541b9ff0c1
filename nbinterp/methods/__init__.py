"""Questions asked of a model: each takes the model first, runs many experiments at once, and returns a frozen result."""

from nbinterp.methods.manifold_steering import SteerReport, steer_report

__all__ = ["SteerReport", "steer_report"]
