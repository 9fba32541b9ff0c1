"""Questions asked of a cloud: where labels lie, whether they form a circle, what loops there are. No torch, no model."""

from nbinterp.geometry.circular import CircleTest, circle_test, circle_tests
from nbinterp.geometry.embedding import Embedding, pca, umap
from nbinterp.geometry.fourier import FourierLoop
from nbinterp.geometry.labels import Centroids, centroids
from nbinterp.geometry.manifold import Circle, fit_manifold
from nbinterp.geometry.neighbors import neighbours_kept
from nbinterp.geometry.persistence import Diagram, persistence
from nbinterp.geometry.preparation import Preparation, Prepared, prepare
from nbinterp.geometry.significance import LoopTest, loop_significance

__all__ = [
    "Centroids",
    "Circle",
    "CircleTest",
    "Diagram",
    "Embedding",
    "FourierLoop",
    "LoopTest",
    "Preparation",
    "Prepared",
    "centroids",
    "circle_test",
    "circle_tests",
    "fit_manifold",
    "loop_significance",
    "neighbours_kept",
    "pca",
    "persistence",
    "prepare",
    "umap",
]
