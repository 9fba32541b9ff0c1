"""Find a shape in a language model's activations, test that it is not noise, take hold of it, and turn it."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nbinterp.clouds import Cloud as Cloud
    from nbinterp.demo.prompts import Concept as Concept
    from nbinterp.experiment import Experiment as Experiment
    from nbinterp.geometry import centroids as centroids
    from nbinterp.geometry import circle_test as circle_test
    from nbinterp.geometry import circle_tests as circle_tests
    from nbinterp.geometry import fit_manifold as fit_manifold
    from nbinterp.geometry import loop_significance as loop_significance
    from nbinterp.geometry import pca as pca
    from nbinterp.geometry import persistence as persistence
    from nbinterp.geometry import umap as umap
    from nbinterp.interventions import Ablate as Ablate
    from nbinterp.interventions import Patch as Patch
    from nbinterp.interventions import Rotate as Rotate
    from nbinterp.interventions import Steer as Steer
    from nbinterp.model import CollectionStopped as CollectionStopped
    from nbinterp.model import Model as Model
    from nbinterp.results import Result as Result
    from nbinterp.sites import Match as Match
    from nbinterp.sites import Site as Site
    from nbinterp.spaces import Direction as Direction
    from nbinterp.spaces import Loop as Loop
    from nbinterp.spaces import Plane as Plane
    from nbinterp.widgets.atlas import Atlas as Atlas
    from nbinterp.widgets.dial import Dial as Dial

_HOMES = {
    "clouds": ("Cloud",),
    "demo.prompts": ("Concept",),
    "experiment": ("Experiment",),
    "geometry": (
        "centroids",
        "circle_test",
        "circle_tests",
        "fit_manifold",
        "loop_significance",
        "pca",
        "persistence",
        "umap",
    ),
    "interventions": ("Ablate", "Patch", "Rotate", "Steer"),
    "model": ("CollectionStopped", "Model"),
    "results": ("Result",),
    "sites": ("Match", "Site"),
    "spaces": ("Direction", "Loop", "Plane"),
    "widgets.atlas": ("Atlas",),
    "widgets.dial": ("Dial",),
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
