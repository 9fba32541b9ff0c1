import json
import subprocess
import sys

import pytest

import nbinterp as nb

HEAVY = (
    "torch",
    "nnsight",
    "transformers",
    "umap",
    "numba",
    "ripser",
    "sklearn",
    "altair",
    "pandas",
    "anywidget",
    "xarray",
)


def loaded_by(statement):
    code = f"import sys, json; {statement}; print(json.dumps(sorted(m for m in {HEAVY} if m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import nbinterp") == []


@pytest.mark.parametrize("name", ["Experiment", "Site", "Rotate", "Loop"])
def test_data_needs_no_model_library(name):
    assert not {"torch", "nnsight", "transformers"} & set(loaded_by(f"import nbinterp; nbinterp.{name}"))


@pytest.mark.parametrize("name", ["fit_manifold", "persistence", "umap"])
def test_geometry_needs_no_model_and_loads_slow_libraries_late(name):
    assert not {"torch", "nnsight", "transformers", "umap", "numba", "ripser"} & set(
        loaded_by(f"import nbinterp; nbinterp.{name}")
    )


@pytest.mark.parametrize("name", nb.__all__)
def test_every_exported_name_is_there_and_documented(name):
    value = getattr(nb, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        AttributeError,
        match=r"module 'nbinterp' has no attribute 'Dail'; it has __version__, Ablate, Activations, Atlas, ",
    ):
        nb.Dail  # noqa: B018
