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
    from nbinterp.hosted.hosts import trust as trust
    from nbinterp.hosted.keys import login as login
    from nbinterp.interventions import Ablate as Ablate
    from nbinterp.interventions import Cut as Cut
    from nbinterp.interventions import Patch as Patch
    from nbinterp.interventions import Project as Project
    from nbinterp.interventions import Rotate as Rotate
    from nbinterp.interventions import Scale as Scale
    from nbinterp.interventions import Steer as Steer
    from nbinterp.methods import SteerReport as SteerReport
    from nbinterp.methods import steer_report as steer_report
    from nbinterp.methods.attention import Attention as Attention
    from nbinterp.methods.attention import Attentions as Attentions
    from nbinterp.methods.attention import attention as attention
    from nbinterp.methods.attribution import LogitAttribution as LogitAttribution
    from nbinterp.methods.attribution import LogitAttributions as LogitAttributions
    from nbinterp.methods.attribution import logit_attribution as logit_attribution
    from nbinterp.methods.attribution_patching import attribution_patching as attribution_patching
    from nbinterp.methods.behaviour import Behaviour as Behaviour
    from nbinterp.methods.behaviour import behaviour as behaviour
    from nbinterp.methods.causal_tracing import CausalTrace as CausalTrace
    from nbinterp.methods.causal_tracing import causal_tracing as causal_tracing
    from nbinterp.methods.circuit_results import Circuit as Circuit
    from nbinterp.methods.circuit_results import FaithfulnessCurve as FaithfulnessCurve
    from nbinterp.methods.circuits import EdgeScores as EdgeScores
    from nbinterp.methods.circuits import circuit as circuit
    from nbinterp.methods.estimates import AttributionPatching as AttributionPatching
    from nbinterp.methods.future_lens import FutureLens as FutureLens
    from nbinterp.methods.future_lens import future_lens as future_lens
    from nbinterp.methods.head_scores import HeadScores as HeadScores
    from nbinterp.methods.head_scores import head_scores as head_scores
    from nbinterp.methods.knock_out import KnockOut as KnockOut
    from nbinterp.methods.knock_out import knock_out as knock_out
    from nbinterp.methods.lenses import Lens as Lens
    from nbinterp.methods.lenses import logit_lens as logit_lens
    from nbinterp.methods.patching import Patching as Patching
    from nbinterp.methods.patching import activation_patching as activation_patching
    from nbinterp.methods.patchscopes import Patchscope as Patchscope
    from nbinterp.methods.patchscopes import patchscope as patchscope
    from nbinterp.methods.path_patching import Paths as Paths
    from nbinterp.methods.path_patching import path_patching as path_patching
    from nbinterp.methods.perplexity import Perplexity as Perplexity
    from nbinterp.methods.perplexity import perplexity as perplexity
    from nbinterp.methods.steering import steering_effect as steering_effect
    from nbinterp.methods.steering_effect import SteeringEffect as SteeringEffect
    from nbinterp.methods.steering_vectors import SteeringVectors as SteeringVectors
    from nbinterp.methods.steering_vectors import steering_vectors as steering_vectors
    from nbinterp.methods.tuned_lens import TunedLens as TunedLens
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
    from nbinterp.widgets.attention_view import AttentionView as AttentionView
    from nbinterp.widgets.chart import Chart as Chart
    from nbinterp.widgets.circuit_graph import CircuitGraph as CircuitGraph
    from nbinterp.widgets.dial import Dial as Dial
    from nbinterp.widgets.lens_grid import LensGrid as LensGrid
    from nbinterp.widgets.patch_grid import PatchGrid as PatchGrid
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
    "hosted.hosts": ("trust",),
    "hosted.keys": ("login",),
    "interventions": ("Ablate", "Cut", "Patch", "Project", "Rotate", "Scale", "Steer"),
    "methods": ("SteerReport", "steer_report"),
    "methods.attention": ("Attention", "Attentions", "attention"),
    "methods.attribution_patching": ("attribution_patching",),
    "methods.behaviour": ("Behaviour", "behaviour"),
    "methods.causal_tracing": ("CausalTrace", "causal_tracing"),
    "methods.circuit_results": ("Circuit", "FaithfulnessCurve"),
    "methods.circuits": ("EdgeScores", "circuit"),
    "methods.estimates": ("AttributionPatching",),
    "methods.head_scores": ("HeadScores", "head_scores"),
    "methods.knock_out": ("KnockOut", "knock_out"),
    "methods.lenses": ("Lens", "logit_lens"),
    "methods.patching": ("Patching", "activation_patching"),
    "methods.path_patching": ("Paths", "path_patching"),
    "methods.perplexity": ("Perplexity", "perplexity"),
    "methods.steering": ("steering_effect",),
    "methods.steering_effect": ("SteeringEffect",),
    "methods.steering_vectors": ("SteeringVectors", "steering_vectors"),
    "methods.attribution": ("LogitAttribution", "LogitAttributions", "logit_attribution"),
    "methods.tuned_lens": ("TunedLens",),
    "methods.patchscopes": ("Patchscope", "patchscope"),
    "methods.future_lens": ("FutureLens", "future_lens"),
    "metrics": ("entropy", "kl_divergence", "log_probability", "logit", "logit_difference", "probability", "rank"),
    "model": ("CollectionStopped", "GenerationStopped", "Model"),
    "results": ("Result",),
    "sites": ("Site",),
    "sweeps": ("Sweep",),
    "prompts": ("Chat",),
    "tokens": ("Match", "Regex", "Role"),
    "spaces": ("Activations", "Basis", "Direction", "Loop", "Plane"),
    "widgets.atlas": ("Atlas",),
    "widgets.attention_view": ("AttentionView",),
    "widgets.chart": ("Chart",),
    "widgets.circuit_graph": ("CircuitGraph",),
    "widgets.dial": ("Dial",),
    "widgets.lens_grid": ("LensGrid",),
    "widgets.patch_grid": ("PatchGrid",),
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
