"""Find a shape in a language model's activations, test that it is not noise, take hold of it, and turn it."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nbinterp.clouds import Cloud as Cloud
    from nbinterp.continuations import Continuation as Continuation
    from nbinterp.demo.prompts import Concept as Concept
    from nbinterp.experiment import Experiment as Experiment
    from nbinterp.experiment import Generation as Generation
    from nbinterp.geometry import Preparation as Preparation
    from nbinterp.geometry import UmapSession as UmapSession
    from nbinterp.geometry import align as align
    from nbinterp.geometry import centroids as centroids
    from nbinterp.geometry import circle_test as circle_test
    from nbinterp.geometry import circle_tests as circle_tests
    from nbinterp.geometry import circular_coordinates as circular_coordinates
    from nbinterp.geometry import compare_shapes as compare_shapes
    from nbinterp.geometry import correct as correct
    from nbinterp.geometry import diagrams_across as diagrams_across
    from nbinterp.geometry import encoding_map as encoding_map
    from nbinterp.geometry import fit_manifold as fit_manifold
    from nbinterp.geometry import intrinsic_dimension as intrinsic_dimension
    from nbinterp.geometry import loop_significance as loop_significance
    from nbinterp.geometry import loop_significances as loop_significances
    from nbinterp.geometry import neighbor_graph as neighbor_graph
    from nbinterp.geometry import pca as pca
    from nbinterp.geometry import prepare as prepare
    from nbinterp.geometry import prepare_large as prepare_large
    from nbinterp.geometry import probe as probe
    from nbinterp.geometry import toroidal_coordinates as toroidal_coordinates
    from nbinterp.geometry import umap as umap
    from nbinterp.geometry.clusters import clusters as clusters
    from nbinterp.geometry.contrast import contrast as contrast
    from nbinterp.geometry.explore import explore as explore
    from nbinterp.geometry.faithfulness import faithfulness as faithfulness
    from nbinterp.geometry.mapper import mapper as mapper
    from nbinterp.geometry.persistence import persistence as persistence
    from nbinterp.geometry.planes import flat_plane as flat_plane
    from nbinterp.geometry.reducibility import reducibility as reducibility
    from nbinterp.geometry.significance import significance as significance
    from nbinterp.interventions import Ablate as Ablate
    from nbinterp.interventions import Patch as Patch
    from nbinterp.interventions import Project as Project
    from nbinterp.interventions import Rotate as Rotate
    from nbinterp.interventions import Scale as Scale
    from nbinterp.interventions import Steer as Steer
    from nbinterp.methods import SteerReport as SteerReport
    from nbinterp.methods import steer_report as steer_report
    from nbinterp.metrics import entropy as entropy
    from nbinterp.metrics import kl_divergence as kl_divergence
    from nbinterp.metrics import log_probability as log_probability
    from nbinterp.metrics import logit as logit
    from nbinterp.metrics import logit_difference as logit_difference
    from nbinterp.metrics import probability as probability
    from nbinterp.metrics import rank as rank
    from nbinterp.model import CollectionStopped as CollectionStopped
    from nbinterp.model import GenerationStopped as GenerationStopped
    from nbinterp.model import Model as Model
    from nbinterp.prompts import Chat as Chat
    from nbinterp.results import Result as Result
    from nbinterp.sites import Site as Site
    from nbinterp.spaces import Activations as Activations
    from nbinterp.spaces import Basis as Basis
    from nbinterp.spaces import Direction as Direction
    from nbinterp.spaces import Loop as Loop
    from nbinterp.spaces import Plane as Plane
    from nbinterp.sweeps import Sweep as Sweep
    from nbinterp.tokens import Match as Match
    from nbinterp.tokens import Regex as Regex
    from nbinterp.tokens import Role as Role
    from nbinterp.widgets.atlas import Atlas as Atlas
    from nbinterp.widgets.chart import Chart as Chart
    from nbinterp.widgets.dial import Dial as Dial
    from nbinterp.widgets.playground import Playground as Playground
    from nbinterp.widgets.scatter import Scatter as Scatter
    from nbinterp.widgets.scatter import scatter as scatter
    from nbinterp.widgets.selection import Selection as Selection
    from nbinterp.widgets.selection import link as link

_HOMES = {
    "clouds": ("Cloud",),
    "continuations": ("Continuation",),
    "demo.prompts": ("Concept",),
    "experiment": ("Experiment", "Generation"),
    "geometry": (
        "Preparation",
        "UmapSession",
        "align",
        "centroids",
        "circle_test",
        "circle_tests",
        "circular_coordinates",
        "clusters",
        "compare_shapes",
        "contrast",
        "correct",
        "diagrams_across",
        "encoding_map",
        "explore",
        "faithfulness",
        "fit_manifold",
        "flat_plane",
        "intrinsic_dimension",
        "loop_significance",
        "loop_significances",
        "mapper",
        "neighbor_graph",
        "pca",
        "persistence",
        "prepare",
        "prepare_large",
        "probe",
        "reducibility",
        "significance",
        "toroidal_coordinates",
        "umap",
    ),
    "interventions": ("Ablate", "Patch", "Project", "Rotate", "Scale", "Steer"),
    "methods": ("SteerReport", "steer_report"),
    "metrics": ("entropy", "kl_divergence", "log_probability", "logit", "logit_difference", "probability", "rank"),
    "model": ("CollectionStopped", "GenerationStopped", "Model"),
    "results": ("Result",),
    "sites": ("Site",),
    "sweeps": ("Sweep",),
    "prompts": ("Chat",),
    "tokens": ("Match", "Regex", "Role"),
    "spaces": ("Activations", "Basis", "Direction", "Loop", "Plane"),
    "widgets.atlas": ("Atlas",),
    "widgets.chart": ("Chart",),
    "widgets.dial": ("Dial",),
    "widgets.playground": ("Playground",),
    "widgets.scatter": ("Scatter", "scatter"),
    "widgets.selection": ("Selection", "link"),
}
_HOME = {name: f"nbinterp.{module}" for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nbinterp' has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
