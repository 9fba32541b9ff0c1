"""Persistent homology of a cloud: clusters and loops over all scales, with the rows that each loop runs through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import pdist, squareform

from nbinterp.geometry.preparation import Components, Prepared, prepare

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.geometry.significance import LoopTest
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

MAX_POINTS_H2 = 300
"""More points than this are refused for homology in dimension 2: minutes to hours."""


@dataclass(frozen=True, eq=False)
class Diagram:
    """Births and deaths of clusters (H0), loops (H1) and cavities (H2) as balls round the points grow.

    Parameters
    ----------
    pairs : tuple of array, one a dimension, each ``[class, 2]``
        Birth and death as distances between points, in the units of the activations; longest-lived first. A death of
        infinity means: still alive at every scale.
    cycles : tuple of tuple of int, one an H1 class
        Rows of the cloud on a loop that stands for the class: the edge that closes it when it is born, and the
        shortest way back over edges no longer than that. Rows elsewhere on a wide loop are not listed, and a loop is
        a representative, not *the* loop. With landmarks, all rows of the clusters that the loop runs through.
    prepared : Prepared
        What homology saw, and how the rows became that.
    """

    pairs: tuple[Floats, ...]
    cycles: tuple[tuple[int, ...], ...] = field(repr=False)
    prepared: Prepared = field(repr=False)

    @property
    def points(self) -> Floats:
        """What homology saw, in the units of the activations: ``[point, n_components]``."""
        return self.prepared.points

    @property
    def point_of_row(self) -> NDArray[np.int64]:
        """The point that each row became; −1 where the row was set aside: ``[row]``."""
        return self.prepared.point_of_row

    @property
    def site(self) -> Site | None:
        """Where the rows come from."""
        return self.prepared.site

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return self.prepared.provenance

    @property
    def h0(self) -> Floats:
        """Births and deaths of clusters, ``[class, 2]``."""
        return self.pairs[0]

    @property
    def h1(self) -> Floats:
        """Births and deaths of loops, ``[class, 2]``."""
        return self.pairs[1] if len(self.pairs) > 1 else np.empty((0, 2))

    def frame(self) -> pd.DataFrame:
        """Return one line a class.

        Returns
        -------
        DataFrame
            ``class_id`` (``"H1.0"`` is the longest-lived loop), ``dimension``, ``birth``, ``death``, ``persistence`` =
            death − birth, ``ratio`` = death / birth, ``n_rows`` on the representative loop (0 where there is none).
        """
        frames = []
        for dimension, pairs in enumerate(self.pairs):
            n_rows = [len(cycle) for cycle in self.cycles] if dimension == 1 else [0] * len(pairs)
            with np.errstate(divide="ignore"):
                ratio = pairs[:, 1] / pairs[:, 0]
            frames.append(
                pd.DataFrame(
                    {
                        "class_id": [f"H{dimension}.{i}" for i in range(len(pairs))],
                        "dimension": dimension,
                        "birth": pairs[:, 0],
                        "death": pairs[:, 1],
                        "persistence": pairs[:, 1] - pairs[:, 0],
                        "ratio": ratio,
                        "n_rows": n_rows,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def members(self) -> pd.DataFrame:
        """Return one line for each row on a representative loop: ``class_id``, ``row``."""
        lines = [(f"H1.{i}", row) for i, cycle in enumerate(self.cycles) for row in cycle]
        return pd.DataFrame(lines, columns=["class_id", "row"])

    def chart(self, test: LoopTest | None = None) -> alt.LayerChart:
        """Return a persistence diagram, with the line that a loop has to pass where a test is given."""
        from nbinterp.charts.diagrams import persistence_chart

        threshold = None if test is None else test.lifetime_threshold
        return persistence_chart(
            self.frame(), threshold=threshold, title="Persistence diagram", subtitle=str(self.prepared.preparation)
        )

    def __repr__(self) -> str:
        lines = [f"Diagram of {len(self.points)} points{f' at {self.site}' if self.site else ''}"]
        for dimension, pairs in enumerate(self.pairs):
            what = f"  H{dimension}: {len(pairs)} classes"
            finite = pairs[np.isfinite(pairs).all(axis=1)]
            if dimension and len(finite):
                what += f"; longest from {finite[0, 0]:.3g} to {finite[0, 1]:.3g}, death / birth {finite[0, 1] / finite[0, 0]:.2f}"
                what += f", on {len(self.cycles[0])} rows" if dimension == 1 else ""
            lines.append(what)
        return "\n".join([*lines, f"  {self.provenance}"])


def persistence(
    cloud: Rows | Prepared,
    n_components: Components = 2,
    *,
    max_dimension: int = 1,
    within: Column | None = None,
    landmarks: int | None = None,
    max_points: int = 2000,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Diagram:
    """Compute the persistent homology (Vietoris-Rips, coefficients Z/2) of rows, projected first.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, or Prepared
        The rows; what `prepare` gave is taken as it is.
    n_components : int, float, "parallel" or None
        Principal components to project onto first, as for `Preparation`: 2 for a circle, more for a torus; None for no
        projection, in which noise over hundreds of features hides nearly every loop.
    max_dimension : {0, 1, 2}
        Clusters, loops, cavities.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    landmarks : int, optional
        Take the means of so many k-means clusters in place of the rows; 10 rows or more a landmark is good.
    max_points : int
        Refuse more points than this.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of k-means.

    Raises
    ------
    ValueError
        For fewer than 3 different points, more components than rows or features, or too many points.

    Notes
    -----
    The engine is ripser (Bauer 2021; Tralie et al. 2018), in float32. Duplicates count once.
    """
    if max_dimension not in (0, 1, 2):
        raise ValueError(f"got max_dimension={max_dimension}; choose 0 (clusters), 1 (loops) or 2 (cavities).")
    if landmarks is not None:
        _check_size(landmarks, max_points, max_dimension)
    prepared = prepare(
        cloud, n_components, within=within, landmarks=landmarks, max_norm_ratio=max_norm_ratio, seed=seed
    )
    _check_size(len(prepared.points), max_points, max_dimension)
    if len(prepared.points) < 3:
        raise ValueError(
            f"got rows that make only {len(prepared.points)} different points; wanted at least 3: check the rows."
        )
    pairs, cocycles, distances = _homology(prepared.points, max_dimension)
    vertices = [_representative(distances, edges) for edges in cocycles]
    cycles = tuple(tuple(np.flatnonzero(np.isin(prepared.point_of_row, v)).tolist()) for v in vertices)
    return Diagram(pairs, cycles, prepared)


def loop_pairs(points: Floats) -> Floats:
    """Return births and deaths of the loops of ``points [point, feature]``, longest-lived first: ``[class, 2]``."""
    return _homology(points, 1, cocycles=False)[0][1]


def _homology(
    points: Floats, max_dimension: int, *, cocycles: bool = True
) -> tuple[tuple[Floats, ...], list[Any], NDArray[np.float32]]:
    # importing ripser takes time that only its users should pay
    from ripser import ripser

    distances = squareform(pdist(points)).astype(np.float32)
    found = ripser(distances, maxdim=max_dimension, distance_matrix=True, do_cocycles=cocycles and max_dimension > 0)
    pairs, order_h1 = [], np.empty(0, dtype=np.int64)
    for dimension, raw in enumerate(found["dgms"]):
        diagram = np.asarray(raw, dtype=np.float64).reshape(-1, 2)
        order = np.argsort(diagram[:, 0] - diagram[:, 1], kind="stable")
        pairs.append(diagram[order])
        order_h1 = order if dimension == 1 else order_h1
    edges = [found["cocycles"][1][i] for i in order_h1] if cocycles and max_dimension > 0 else []
    return tuple(pairs), edges, distances


def _representative(distances: NDArray[np.float32], cocycle: NDArray[np.int64]) -> list[int]:
    """Return points on a loop of the class: its birth edge, and the shortest way back over edges no longer than that."""
    ends = np.asarray(cocycle)[:, :2].astype(np.int64)
    # below its birth the class is zero, so that the shortest edge of the cocycle is the one that closes the loop
    start, stop = ends[np.argmin(distances[ends[:, 0], ends[:, 1]])]
    birth = distances[start, stop]
    near = np.where(distances <= birth, distances, 0)
    near[start, stop] = near[stop, start] = 0
    before = dijkstra(csr_array(near), indices=start, return_predecessors=True)[1]
    path = [int(stop)]
    while path[-1] != start and before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path


def _check_size(n: int, max_points: int, max_dimension: int) -> None:
    limit = min(max_points, MAX_POINTS_H2) if max_dimension == 2 else max_points
    if n > limit:
        # measured with ripser 0.6 on a noisy circle, its worst case: 60 MB at 500 points, 2.4 GB at 2,000
        gigabytes = 0.35 * (n / 1000) ** 2.75
        what = f"about {gigabytes:.1f} GB of memory" if max_dimension < 2 else "hours and all memory"
        raise ValueError(
            f"got {n} points for exact homology up to dimension {max_dimension}, which can take {what}; wanted at most {limit}: "
            f"pass landmarks={min(300, limit)}, select fewer rows, or raise max_points"
            f"{f' (dimension 2 stays at {MAX_POINTS_H2})' if max_dimension == 2 else ''}."
        )
