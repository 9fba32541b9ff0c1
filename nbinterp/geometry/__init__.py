"""Questions asked of a cloud: what shapes there are, how sure that is, where labels lie. No torch, no model."""

from nbinterp.geometry.alignment import LayerEmbeddings, align
from nbinterp.geometry.circular import CircleTest, circle_test, circle_tests
from nbinterp.geometry.clusters import Clusters, clusters
from nbinterp.geometry.contrast import Contrast, contrast
from nbinterp.geometry.coordinates import CircularCoordinates, circular_coordinates
from nbinterp.geometry.dimension import IntrinsicDimension, intrinsic_dimension
from nbinterp.geometry.distances import distances
from nbinterp.geometry.embedding import Embedding, pca, umap
from nbinterp.geometry.encoding import EncodingMap, encoding_map
from nbinterp.geometry.explore import explore
from nbinterp.geometry.faithfulness import Faithfulness, faithfulness
from nbinterp.geometry.fourier import FourierLoop
from nbinterp.geometry.joint import loop_significances
from nbinterp.geometry.labels import Centroids, centroids
from nbinterp.geometry.layout import UmapSession
from nbinterp.geometry.manifold import Circle, compare_shapes, fit_manifold
from nbinterp.geometry.mapper import MapperGraph, mapper
from nbinterp.geometry.multiple import adjusted, correct
from nbinterp.geometry.neighbors import NeighborGraph, neighbor_graph, neighbours_kept
from nbinterp.geometry.persistence import Diagram, persistence
from nbinterp.geometry.planes import FlatPlane, flat_plane
from nbinterp.geometry.preparation import Preparation, Prepared, prepare
from nbinterp.geometry.probes import ProbeReport, probe
from nbinterp.geometry.reducibility import Reducibility, reducibility
from nbinterp.geometry.report import Exploration, ExplorationStopped, Report
from nbinterp.geometry.significance import Significance, loop_significance, significance
from nbinterp.geometry.spline import Line, SplineCurve
from nbinterp.geometry.streaming import LargePrepared, nearest_rows, prepare_large
from nbinterp.geometry.surface import Surface
from nbinterp.geometry.toroidal import ToroidalCoordinates, toroidal_coordinates
from nbinterp.geometry.tracking import DiagramsStopped, LayerDiagrams, diagrams_across
from nbinterp.geometry.vectors import betti_curves, bottleneck, landscape, persistence_image, wasserstein

__all__ = [
    "Centroids",
    "Circle",
    "CircleTest",
    "CircularCoordinates",
    "Clusters",
    "Contrast",
    "Diagram",
    "DiagramsStopped",
    "Embedding",
    "EncodingMap",
    "Exploration",
    "ExplorationStopped",
    "Faithfulness",
    "FlatPlane",
    "FourierLoop",
    "IntrinsicDimension",
    "LargePrepared",
    "LayerDiagrams",
    "LayerEmbeddings",
    "Line",
    "MapperGraph",
    "NeighborGraph",
    "Preparation",
    "Prepared",
    "ProbeReport",
    "Reducibility",
    "Report",
    "Significance",
    "SplineCurve",
    "Surface",
    "ToroidalCoordinates",
    "UmapSession",
    "adjusted",
    "align",
    "betti_curves",
    "bottleneck",
    "centroids",
    "circle_test",
    "circle_tests",
    "circular_coordinates",
    "clusters",
    "compare_shapes",
    "contrast",
    "correct",
    "diagrams_across",
    "distances",
    "encoding_map",
    "explore",
    "faithfulness",
    "fit_manifold",
    "flat_plane",
    "intrinsic_dimension",
    "landscape",
    "loop_significance",
    "loop_significances",
    "mapper",
    "nearest_rows",
    "neighbor_graph",
    "neighbours_kept",
    "pca",
    "persistence",
    "persistence_image",
    "prepare",
    "prepare_large",
    "probe",
    "reducibility",
    "significance",
    "toroidal_coordinates",
    "umap",
    "wasserstein",
]
