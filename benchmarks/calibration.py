"""Measure how often the tests of shapes are fooled, and what they find: ``python -m benchmarks.calibration``.

It writes the tables of docs/significance.md between their markers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from nbinterp.geometry import circle_test, circle_tests, persistence
from nbinterp.geometry.significance import MIN_PROMINENCE, significance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from nbinterp.geometry.nulls import Null

    Points = NDArray[np.float64]

PAGE = Path(__file__).parents[1] / "docs" / "significance.md"
D = 576
LAYERS = (8, 15, 24)
N_NULL = 99
NULLS: tuple[Null, ...] = ("gaussian", "permutation", "universal", "bootstrap", "subsampling")
ALPHA = 0.01
WITHOUT_RATIO = "gaussian, however late it is born"
"""What the default would say of any death / birth."""


def gaussian(rng: np.random.Generator, n: int) -> Points:
    """Rows with the same variance in all directions."""
    return rng.normal(size=(n, D))


def anisotropic(rng: np.random.Generator, n: int) -> Points:
    """Gaussian rows whose variances fall as 1 / rank, as those of activations do."""
    return rng.normal(size=(n, D)) / np.sqrt(np.arange(1, D + 1))


def clustered(rng: np.random.Generator, n: int) -> Points:
    """Three to eight Gaussian clusters, their centres Gaussian in ten dimensions."""
    k = int(rng.integers(3, 9))
    centres = rng.normal(size=(k, 10)) @ frame(rng, 10)
    return 3 * centres[rng.integers(k, size=n)] + rng.normal(size=(n, D)) / np.sqrt(np.arange(1, D + 1))


def heavy_tailed(rng: np.random.Generator, n: int) -> Points:
    """Rows of Student's t with 3 degrees of freedom, variances falling as 1 / rank."""
    scale = np.sqrt(3 / rng.chisquare(3, size=(n, 1)))
    return anisotropic(rng, n) * scale


def ring_of_clusters(rng: np.random.Generator, n: int) -> Points:
    """Seven tight clusters on a circle: no curve, and yet a loop."""
    angles = 2 * np.pi * rng.integers(7, size=n) / 7
    return circle_of(angles) @ frame(rng, 2) + 0.05 * rng.normal(size=(n, D)) / np.sqrt(np.arange(1, D + 1))


def circle(rng: np.random.Generator, n: int) -> Points:
    """Rows evenly on a circle of radius 1 in the plane."""
    return circle_of(rng.uniform(0, 2 * np.pi, n))


def figure_eight(rng: np.random.Generator, n: int) -> Points:
    """Two circles of radius 1 that touch."""
    side = rng.choice([-1.0, 1.0], n)
    points = circle_of(rng.uniform(0, 2 * np.pi, n))
    points[:, 0] = side * (1 + points[:, 0])
    return points


def torus(rng: np.random.Generator, n: int) -> Points:
    """Return the product of two circles of radius 1, in four dimensions."""
    return np.hstack([circle(rng, n), circle(rng, n)])


def sphere(rng: np.random.Generator, n: int) -> Points:
    """Rows evenly on a sphere of radius 1."""
    points = rng.normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def circle_of(angles: Points) -> Points:
    """Return points of the unit circle."""
    return np.column_stack([np.cos(angles), np.sin(angles)])


def frame(rng: np.random.Generator, k: int) -> Points:
    """Return k orthonormal rows in 576 dimensions."""
    return np.linalg.qr(rng.normal(size=(D, k)))[0].T


NOTHING: dict[str, Callable[[np.random.Generator, int], Points]] = {
    "Gaussian": gaussian,
    "anisotropic": anisotropic,
    "clustered": clustered,
    "heavy-tailed": heavy_tailed,
}
SHAPES: dict[str, tuple[Callable[[np.random.Generator, int], Points], int, Literal[1, 2], int]] = {
    # shape, components kept, dimension of the classes, how many there are
    "circle": (circle, 2, 1, 1),
    "figure-eight": (figure_eight, 2, 1, 2),
    "torus": (torus, 4, 1, 2),
    "sphere": (sphere, 3, 2, 1),
}


@dataclass(frozen=True)
class Case:
    """One cloud to be tested.

    Parameters
    ----------
    table, kind : str
        Where its result goes.
    rows : array or str
        The rows, or what makes them: a name of `NOTHING` or `SHAPES`.
    noise : float
        Norm of the noise over the radius, all dimensions together.
    n, n_components : int
        Rows, components kept.
    dimension : {1, 2}
        Of the classes.
    landmarks : int or None
        As for `persistence`.
    nulls : tuple of str
        Nulls to test against.
    seed : int
        Of rows and draws.
    """

    table: str
    kind: str
    rows: Any
    noise: float
    n: int
    n_components: int
    dimension: Literal[1, 2]
    landmarks: int | None
    nulls: tuple[Null, ...]
    seed: int

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.table}: {self.kind}, noise {self.noise:g}, seed {self.seed}"


def tested(case: Case) -> tuple[str, list[dict[str, Any]]]:
    """Return the case's name, and p, the CPU seconds and how many classes were found, for each null."""
    # one process a core: threads inside them would only wait for one another
    with threadpool_limits(1):
        return case.name, _tested(case)


def _tested(case: Case) -> list[dict[str, Any]]:
    rng = np.random.default_rng([case.seed, *case.kind.encode()])
    if isinstance(case.rows, np.ndarray):
        rows = case.rows
    elif case.rows in SHAPES:
        shape = SHAPES[case.rows][0](rng, case.n)
        rows = shape @ frame(rng, shape.shape[1]) + case.noise / np.sqrt(D) * rng.normal(size=(case.n, D))
    else:
        rows = (NOTHING | {"ring of clusters": ring_of_clusters})[case.rows](rng, case.n)
    diagram = persistence(rows, case.n_components, max_dimension=case.dimension, landmarks=case.landmarks)
    found: list[dict[str, Any]] = []
    for null in case.nulls:
        start = time.process_time()
        test = significance(diagram, null=null, dimension=case.dimension, n_null=N_NULL, alpha=ALPHA, seed=case.seed)
        line = {"table": case.table, "kind": case.kind, "noise": case.noise, "null": null, "p": test.p}
        found.append(line | {"found": test.n_found, "seconds": time.process_time() - start})
        if null == "gaussian":
            called = test.p <= ALPHA and test.prominence >= MIN_PROMINENCE
            found.append(line | {"null": WITHOUT_RATIO, "found": int(called), "seconds": 0.0})
    return found


def cases(real: dict[int, Points], times: int) -> Iterable[Case]:
    """Yield every cloud to test; `times` clouds of each kind with nothing in it, fewer where a cloud takes long."""
    kinds = [*NOTHING, *(["real activations"] if real else []), "ring of clusters"]

    def rows_of(kind: str, seed: int, n: int) -> Any:
        if kind != "real activations":
            return kind
        rng = np.random.default_rng([seed, n])
        tokens = real[LAYERS[seed % len(LAYERS)]]
        return tokens[rng.choice(len(tokens), n, replace=False)]

    settings: tuple[tuple[str, int, int, Literal[1, 2], int | None, tuple[Null, ...], float], ...] = (
        # table, rows, components, dimension, landmarks, nulls, share of the clouds
        ("loops", 300, 2, 1, None, NULLS, 1.0),
        ("loops, many rows", 3000, 2, 1, 300, ("gaussian", "universal"), 0.15),
        ("loops in 4 components", 300, 4, 1, None, ("gaussian", "universal"), 0.4),
        ("cavities", 300, 3, 2, 100, ("gaussian", "universal"), 0.25),
    )
    for table, n, k, dimension, landmarks, nulls, share in settings:
        for kind in kinds:
            n_clouds = max(2, round(times * share))
            # what is asked of most is asked most often
            more = 5 * n_clouds if (table, kind) == ("loops", "real activations") else n_clouds
            for seed in range(more):
                asked = nulls if seed < n_clouds else ("gaussian",)
                yield Case(table, kind, rows_of(kind, seed, n), 0.0, n, k, dimension, landmarks, asked, seed)
    for kind, (_, k, dimension, _) in SHAPES.items():
        few = 100 if dimension == 2 else None
        asked: tuple[Null, ...] = NULLS if kind == "circle" else ("gaussian", "universal", "bootstrap")
        for noise in (1.0, 2.0, 3.0, 4.0, 6.0):
            for seed in range(max(2, times // 5)):
                yield Case("power, 300 rows", kind, kind, noise, 300, k, dimension, few, asked, seed)
            for seed in range(max(2, times // 20)):
                marks = 100 if dimension == 2 else 300
                yield Case("power, 3000 rows", kind, kind, noise, 3000, k, dimension, marks, ("gaussian",), seed)


def labelled(times: int) -> pd.DataFrame:
    """Return what the tests of labelled rows say of 12 labels in 15 groups, 576 dimensions."""
    angles = 2 * np.pi * np.arange(12) / 12
    t = np.linspace(-1, 1, 12)
    shapes = {
        "Gaussian": np.zeros((12, 2)),
        "circle, labels shuffled": circle_of(angles),
        "circle": circle_of(angles),
        "three quarters of a circle": circle_of(0.75 * 2 * np.pi * np.arange(12) / 11),
        "bent line": np.column_stack([t, 0.5 * (t**2 - (t**2).mean())]),
        "straight line": np.column_stack([t, 0 * t]),
    }
    lines = []
    for kind, shape in shapes.items():
        for noise in (2.0, 4.0, 8.0):
            for seed in range(times):
                rng = np.random.default_rng([seed, int(noise), *kind.encode()])
                order = rng.permutation(12) if "shuffled" in kind else np.arange(12)
                rows = shape[order] @ frame(rng, 2) + noise / np.sqrt(D) * rng.normal(size=(15, 12, D))
                rows += rng.normal(size=(15, 1, D))
                labels, groups = np.tile(np.arange(12), 15), np.repeat(np.arange(15), 12)
                test = circle_test(rows.reshape(-1, D), labels, groups, n_permutations=999, alpha=ALPHA)
                lines.append({"kind": kind, "noise": noise, "p": test.p_order, "shape": test.shape})
    return pd.DataFrame(lines)


def all_tested(every: list[Case], n_jobs: int, keep: Path | None) -> pd.DataFrame:
    """Return the results of all cases, in their order; what `keep` holds already is not measured again."""
    kept = keep.read_text(encoding="utf-8").splitlines() if keep is not None and keep.exists() else []
    found = {one["case"]: one["lines"] for one in map(json.loads, kept)}
    # what is quick first, and a few of each kind, so that a run that is stopped has something to say
    missing = sorted((case for case in every if case.name not in found), key=lambda case: (case.n > 300, case.seed))
    run = Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")
    try:
        for done, (name, lines) in enumerate(run(delayed(tested)(case) for case in missing)):
            found[name] = lines
            print(f"{done + 1} of {len(missing)} clouds: {name}", file=sys.stderr, flush=True)
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"case": name, "lines": lines}) + "\n")
    except KeyboardInterrupt:
        print("stopped: the tables have what there is", file=sys.stderr)
    return pd.DataFrame([line for case in every for line in found.get(case.name, [])])


def real_activations(n_words: int, keep: Path | None) -> dict[int, Points]:
    """Return activations of the demo model at some layers, of text that comes with Python; nothing where it is not installed."""
    from pydoc_data import topics

    import nbinterp as nb

    kept = None if keep is None else keep.with_suffix(".npz")
    if kept is not None and kept.exists():
        return {layer: values.astype(np.float64) for layer, values in zip(LAYERS, np.load(kept)["points"], strict=True)}
    try:
        model = nb.Model.open("smollm2-135m", device="cpu")
    except (OSError, LookupError) as error:
        print(f"no demo model, so no real activations: {error}", file=sys.stderr)
        return {}
    words = [
        word for name in sorted(topics.topics) for word in re.findall(r"[A-Za-z][A-Za-z',.]*", topics.topics[name])
    ]
    starts = np.random.default_rng(0).choice(len(words) - 60, n_words // 60, replace=False)
    texts = [" ".join(words[start : start + 60]) for start in starts]
    cloud = model.collect(texts, sites=[f"resid_post.{layer}" for layer in LAYERS], tokens="all", progress=False)
    points = np.stack([np.asarray(cloud[f"resid_post.{layer}"].points, dtype=np.float32) for layer in LAYERS])
    if kept is not None:
        np.savez(kept, points=points)
    return {layer: values.astype(np.float64) for layer, values in zip(LAYERS, points, strict=True)}


def of_the_model() -> str:
    """Return what the tests of labelled rows call months, weekdays and the words zero to nine, over the demo model's layers."""
    import nbinterp as nb
    from nbinterp.demo import prompts

    try:
        model = nb.Model.open("smollm2-135m", device="cpu")
    except (OSError, LookupError):
        return ""
    sites = [f"resid_post.{layer}" for layer in range(0, 30, 2)]
    lines = []
    for concept in (prompts.months, prompts.weekdays, prompts.digits):
        cloud = model.collect(concept.prompts(), sites=sites, tokens="last", labels=concept.table(), progress=False)
        with threadpool_limits(1):
            found = circle_tests(cloud, concept.name, "template", order=concept.labels, alpha=ALPHA)
        line: dict[str, Any] = {"labels": concept.name, "layers": len(found)}
        line["order p ≤ .01"] = int((found["p_joint"] <= ALPHA).sum())
        lines.append(
            line | {f"called {shape}": int((found["shape"] == shape).sum()) for shape in ("circle", "line", "neither")}
        )
    return f"### Labelled rows of SmolLM2, resid_post.0, 2, … 28\n\n{markdown(pd.DataFrame(lines))}"


def share(hits: Sequence[bool] | pd.Series) -> str:
    """Return a share with its exact 95 % interval."""
    k, n = int(sum(hits)), len(hits)
    low, high = binomtest(k, n).proportion_ci(method="exact")
    return f"{k / n:.2f} ({low:.2f} to {high:.2f})"


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def nothing_table(results: pd.DataFrame) -> str:
    """Return the rates of false positives of one setting: bare p at two levels, and the verdict."""
    lines = []
    for kind, of_kind in results.groupby("kind", sort=False):
        for null, one in of_kind.groupby("null", sort=False):
            lines.append(
                {
                    "cloud": kind,
                    "null": null,
                    "clouds": len(one),
                    "p ≤ .05": share(one["p"] <= 0.05),
                    "p ≤ .01": share(one["p"] <= 0.01),
                    "called": share(one["found"] > 0),
                }
            )
    return markdown(pd.DataFrame(lines))


def power_table(results: pd.DataFrame) -> str:
    """Return, for each shape and null, the share of clouds with the right number of classes, by noise."""
    lines = []
    for kind, of_kind in results[results["null"] != WITHOUT_RATIO].groupby("kind", sort=False):
        wanted = SHAPES[str(kind)][3]
        for null, one in of_kind.groupby("null", sort=False):
            line = {"shape": kind, "null": null, "clouds at each noise": one.groupby("noise").size().min()}
            for noise, at in one.groupby("noise"):
                right, any_ = (at["found"] == wanted).mean(), (at["found"] > 0).mean()
                line[f"noise {noise:g}"] = f"{right:.2f}" if wanted == 1 else f"{right:.2f} ({any_:.2f})"
            lines.append(line)
    return markdown(pd.DataFrame(lines))


def labelled_table(results: pd.DataFrame) -> str:
    """Return what labelled rows were called."""
    lines = []
    for (kind, noise), one in results.groupby(["kind", "noise"], sort=False):
        line = {"labels lie on": kind, "noise": f"{noise:g}", "order p ≤ .01": share(one["p"] <= ALPHA)}
        lines.append(
            line | {f"called {shape}": share(one["shape"] == shape) for shape in ("circle", "line", "neither")}
        )
    return markdown(pd.DataFrame(lines))


def main() -> int:
    """Test all clouds and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few clouds, to see that everything runs; writes nothing")
    parser.add_argument("--times", type=int, default=60, help="clouds of each kind with nothing in them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep results here, and go on from what is there")
    parser.add_argument("--without-model", action="store_true", help="leave the demo model out")
    given = parser.parse_args()
    start = time.process_time()
    times = 5 if given.quick else given.times
    real = {} if given.without_model else real_activations(3_600, given.keep)
    about_labels = ["" if given.without_model else of_the_model()]
    about_labels.append(f"### Labelled rows\n\n{labelled_table(labelled(times))}")
    results = all_tested(list(cases(real, times)), given.jobs, given.keep)
    tables = []
    for name, one in results.groupby("table", sort=False):
        table = power_table(one) if str(name).startswith("power") else nothing_table(one)
        tables.append(f"### {str(name)[0].upper()}{str(name)[1:]}\n\n{table}")
    tables += about_labels
    minutes = (results["seconds"].sum() + time.process_time() - start) / 60
    tables.append(
        f"Measured by `python -m benchmarks.calibration --times {times}`: {minutes:.0f} minutes of CPU time, {N_NULL} draws a test."
    )
    text = "\n\n".join(filter(None, tables))
    if given.quick:
        print(text)
        return 0
    page = PAGE.read_text(encoding="utf-8")
    between = re.compile(r"(<!-- tables -->\n).*?(<!-- end of tables -->)", re.DOTALL)
    PAGE.write_text(between.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
