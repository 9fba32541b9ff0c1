"""Persistent homology of a cloud: clusters, loops and cavities over all scales, with the rows that they run through."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.geometry.cycles import birth_edges, dying_clusters, loop
from nbinterp.geometry.distances import Matrix, Metric, distances, n_parts
from nbinterp.geometry.homology import Cocycles, cocycles, diagrams, engine, engine_text
from nbinterp.geometry.limits import check_size, most_points
from nbinterp.geometry.preparation import Components, LandmarkMethod, Prepared, prepare
from nbinterp.geometry.rows import is_cloud
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.geometry.significance import Significance
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats


@dataclass(frozen=True, eq=False)
class Diagram(Told):
    """Births and deaths of clusters (H0), loops (H1) and cavities (H2) as balls round the points grow.

    What stands for a class (`cycles`, `members`) is computed when it is asked for.

    Parameters
    ----------
    pairs : tuple of array, one a dimension, each ``[class, 2]``
        Birth and death as distances between points (in the units of the activations for straight ones); longest-lived
        first. A death of infinity means: still alive at every scale.
    source : Prepared, or array of float32 ``[row, row]``
        What homology saw, and how the rows became that; or the distances that were given.
    metric : {"euclidean", "cosine", "geodesic", "precomputed"}
        How distance was measured.
    n_neighbors : int
        Of the neighbour graph, for ``"geodesic"``.
    prime : int
        Coefficients are integers modulo this prime.
    provenance : str
        What was done, for people to read.
    """

    pairs: tuple[Floats, ...]
    source: Prepared | Matrix = field(repr=False)
    metric: Metric
    n_neighbors: int
    prime: int
    provenance: str

    @property
    def prepared(self) -> Prepared:
        """What homology saw, and how the rows became that; ValueError where distances were given."""
        if isinstance(self.source, Prepared):
            return self.source
        raise ValueError(
            "got a diagram of precomputed distances, which has no points; wanted one of rows: "
            "give persistence a cloud or an array [row, feature]."
        )

    @property
    def points(self) -> Floats:
        """What homology saw, ``[point, n_components]``; ValueError where distances were given."""
        return self.prepared.points

    @property
    def n_points(self) -> int:
        """How many points homology saw."""
        return len(self.source.points if isinstance(self.source, Prepared) else self.source)

    @property
    def point_of_row(self) -> NDArray[np.int64]:
        """The point that each row became; −1 where the row was set aside: ``[row]``."""
        return self.source.point_of_row if isinstance(self.source, Prepared) else np.arange(len(self.source))

    @property
    def site(self) -> Site | None:
        """Where the rows come from."""
        return self.source.site if isinstance(self.source, Prepared) else None

    @property
    def h0(self) -> Floats:
        """Births and deaths of clusters, ``[class, 2]``."""
        return self.pairs[0]

    @property
    def h1(self) -> Floats:
        """Births and deaths of loops, ``[class, 2]``."""
        return self.pairs[1] if len(self.pairs) > 1 else np.empty((0, 2))

    @property
    def h2(self) -> Floats:
        """Births and deaths of cavities, ``[class, 2]``."""
        return self.pairs[2] if len(self.pairs) > 2 else np.empty((0, 2))

    @cached_property
    def distances(self) -> Matrix:
        """The distances that homology saw, ``[point, point]``."""
        if isinstance(self.source, Prepared):
            return distances(self.source.points, self.metric, n_neighbors=self.n_neighbors)
        return self.source

    @cached_property
    def cycles(self) -> tuple[tuple[int, ...], ...]:
        """Rows of the cloud on a loop for each H1 class, in the order of the rows.

        A loop is born with its class: the edge that closes it, and the way back over shorter edges that has the fewest.
        It goes once round what the class goes round, and may go round older loops as well; rows elsewhere on a wide
        loop are not listed: it is *a* loop, not *the* loop. With landmarks, all rows of the clusters that it runs
        through.
        """
        return tuple(self._rows(self.loop(i)) for i in range(len(self.h1)))

    def cycle(self, number: int) -> tuple[int, ...]:
        """Return the rows on a loop for one H1 class, as `cycles` has them for all."""
        return self._rows(self.loop(number))

    def loop(self, number: int) -> list[int]:
        """Return points on a loop for one H1 class, in the order of the walk."""
        edges, ordered = self._births
        if not 0 <= number < len(edges):
            raise IndexError(f"got loop {number} of a diagram of {len(edges)}; wanted 0 (the longest-lived) or above.")
        return loop(ordered, edges[number])

    def again(self, points: Floats) -> tuple[Floats, ...]:
        """Return births and deaths that other points ``[point, n_components]`` have in the same metric, one array a dimension."""
        measured = distances(points, self.metric, n_neighbors=self.n_neighbors)
        return diagrams(measured, len(self.pairs) - 1, prime=self.prime)

    def cocycles(self, threshold: float | None = None) -> Cocycles:
        """Return the loops as cocycles, by ripser; with a threshold, those born up to it: less memory and time."""
        return cocycles(self.distances, prime=self.prime, threshold=threshold)

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

    def members(self, dimension: int = 1) -> pd.DataFrame:
        """Return one line for each row that stands for a class: ``class_id``, ``row``.

        Parameters
        ----------
        dimension : {0, 1, 2}
            0: the rows of the cluster that ends when it merges with a larger one (they were all born at 0, so that
            this is a choice). 1: the rows on a loop, see `cycles`. 2: only the two rows whose distance is the cavity's
            birth, which lie on its wall; no engine here gives the whole wall.

        Raises
        ------
        ValueError
            For a dimension that was not computed.
        """
        if not 0 <= dimension < len(self.pairs):
            raise ValueError(
                f"got dimension={dimension} of a diagram up to {len(self.pairs) - 1}; make it with a larger max_dimension."
            )
        if dimension == 1:
            rows = self.cycles
        elif dimension == 0:
            rows = tuple(self._rows(points.tolist()) for points in dying_clusters(self.distances))
        else:
            rows = tuple(self._rows(edge.tolist()) for edge in birth_edges(self.distances, self.h2, 2, self.prime)[0])
        lines = [(f"H{dimension}.{i}", row) for i, some in enumerate(rows) for row in some]
        return pd.DataFrame(lines, columns=["class_id", "row"])

    def chart(self, test: Significance | None = None) -> alt.LayerChart:
        """Return a persistence diagram, with the line that a loop has to pass where a test is given."""
        from nbinterp.charts.diagrams import persistence_chart

        threshold, ratio = (0.0, 1.0) if test is None else test.limits
        return persistence_chart(
            self.frame(),
            threshold=threshold,
            ratio=ratio,
            title="Persistence diagram",
            subtitle=self._what_was_seen(),
        )

    def barcode(self) -> alt.VConcatChart:
        """Return the classes as bars from birth to death."""
        from nbinterp.charts.diagrams import bar_chart

        return bar_chart(self.frame(), title="Barcode", subtitle=self._what_was_seen())

    def __repr__(self) -> str:
        lines = [f"Diagram of {self.n_points} points{f' at {self.site}' if self.site else ''}"]
        for dimension, pairs in enumerate(self.pairs):
            what = f"  H{dimension}: {len(pairs)} classes"
            finite = pairs[np.isfinite(pairs).all(axis=1)]
            if dimension and len(finite):
                what += f"; longest from {finite[0, 0]:.3g} to {finite[0, 1]:.3g}, death / birth {finite[0, 1] / finite[0, 0]:.2f}"
            lines.append(what)
        return "\n".join([*lines, f"  {self.provenance}"])

    @cached_property
    def _births(self) -> tuple[NDArray[np.int64], Matrix | Floats]:
        return birth_edges(self.distances, self.h1, 1, self.prime)

    @cached_property
    def _rows_by_point(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """All rows in the order of their points, and where the rows of each point start."""
        order = np.argsort(self.point_of_row, kind="stable")
        return order, np.searchsorted(self.point_of_row[order], np.arange(self.n_points + 1))

    def _rows(self, points: list[int]) -> tuple[int, ...]:
        order, starts = self._rows_by_point
        return tuple(sorted(int(row) for point in points for row in order[starts[point] : starts[point + 1]]))

    def _what_was_seen(self) -> str:
        return str(self.source.preparation) if isinstance(self.source, Prepared) else "precomputed distances"


def persistence(
    cloud: Rows | Prepared,
    n_components: Components = 2,
    *,
    max_dimension: int = 1,
    metric: Metric = "euclidean",
    prime: int = 2,
    within: Column | None = None,
    landmarks: int | None = None,
    landmark_method: LandmarkMethod = "k-means",
    n_neighbors: int = 15,
    max_points: int | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Diagram:
    """Compute the persistent homology (Vietoris-Rips) of rows, projected first.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, or Prepared
        The rows; what `prepare` gave is taken as it is. For ``metric="precomputed"`` their distances ``[row, row]``,
        for which `n_components`, `max_norm_ratio` and `seed` mean nothing.
    n_components : int, float, "parallel" or None
        Principal components to project onto first, as for `Preparation`: 2 for a circle, more for a torus; None for no
        projection, in which noise over hundreds of features hides nearly every loop.
    max_dimension : {0, 1, 2}
        Clusters, loops, cavities.
    metric : {"euclidean", "cosine", "geodesic", "precomputed"}
        As for `distances`: straight; 1 − cosine of the angle seen from the mean; along the graph of nearest neighbours;
        or given.
    prime : int
        Coefficients are integers modulo this prime. A Klein bottle has two loops modulo 2 and one modulo 3.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    landmarks : int, optional
        Let so many landmarks stand for the rows; 10 rows or more a landmark is good. Births and deaths are off by at
        most twice ``diagram.prepared.landmark_error`` (of straight distances).
    landmark_method : {"k-means", "farthest", "random"}
        As for `Preparation`.
    n_neighbors : int
        Of the graph, for ``metric="geodesic"``.
    max_points : int, optional
        Refuse more points than this; by default more than the engine handles in 4 GiB and two minutes: 6,586 for loops with
        redzed-tda, 1,747 without, 529 for cavities with gudhi. An engine cannot be interrupted.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the landmarks.

    Raises
    ------
    ValueError
        For fewer than 3 different points, more components than rows or features, too many points, a number that is no
        prime, distances that are none, or angles in so few components that every cloud has the class looked for.

    Notes
    -----
    Engines: see `diagrams`; all in float32. Duplicates count once.
    """
    _check_question(max_dimension, prime)
    name = engine(max_dimension, prime)
    limit = most_points(name, max_dimension) if max_points is None else max_points
    seen: Prepared | Matrix
    if metric == "precomputed":
        if isinstance(cloud, Prepared) or is_cloud(cloud) or within is not None or landmarks is not None:
            raise ValueError(
                "got rows, within or landmarks together with metric='precomputed'; wanted an array of distances [row, row] alone: "
                "choose another metric for rows."
            )
        n = len(np.asarray(cloud))
        check_size(n, limit, max_dimension, name)
        seen = matrix = distances(np.asarray(cloud), "precomputed")
        provenance = f"distances of {n} rows, as given"
    else:
        n_rows = _n_rows(cloud)
        if landmarks is not None:
            check_size(landmarks, limit, max_dimension, name)
        elif n_rows > 10 * limit:
            # that many duplicates are not to be hoped for, and to find them would take long
            check_size(n_rows, limit, max_dimension, name)
        seen = prepare(
            cloud,
            n_components,
            within=within,
            landmarks=landmarks,
            landmark_method=landmark_method,
            max_norm_ratio=max_norm_ratio,
            seed=seed,
        )
        n = len(seen.points)
        check_size(n, limit, max_dimension, name)
        _check_angles(metric, seen.points.shape[1], max_dimension)
        provenance = seen.provenance
        matrix = distances(seen.points, metric, n_neighbors=n_neighbors) if n > 2 else np.empty((0, 0), np.float32)
    if n < 3:
        raise ValueError(f"got rows that make only {n} different points; wanted at least 3: check the rows.")
    pairs = diagrams(matrix, max_dimension, prime=prime, by=name)
    steps = [provenance, _measured(metric, n_neighbors, matrix)]
    if isinstance(seen, Prepared) and seen.landmark_error > 0:
        bound = f", births and deaths by at most {2 * seen.landmark_error:.3g}" if metric == "euclidean" else ""
        steps.append(f"landmarks are off by {seen.landmark_error:.3g}{bound}")
    steps.append(f"Vietoris-Rips over Z/{prime} by {engine_text(name)}")
    return Diagram(pairs, seen, metric, n_neighbors, prime, "; ".join(filter(None, steps)))


def loop_pairs(points: Floats, metric: Metric = "euclidean", *, n_neighbors: int = 15) -> Floats:
    """Return births and deaths of the loops of ``points [point, feature]``, longest-lived first: ``[class, 2]``."""
    return diagrams(distances(points, metric, n_neighbors=n_neighbors), 1)[1]


def _check_question(max_dimension: int, prime: int) -> None:
    if max_dimension not in (0, 1, 2):
        raise ValueError(f"got max_dimension={max_dimension}; choose 0 (clusters), 1 (loops) or 2 (cavities).")
    if not 2 <= prime < 2**15 or any(prime % k == 0 for k in range(2, int(prime**0.5) + 1)):
        raise ValueError(f"got prime={prime}; wanted a prime number below {2**15}, such as 2, 3 or 47.")


def _check_angles(metric: Metric, n_components: int, max_dimension: int) -> None:
    # directions fill the sphere of one dimension less, which has a class of its own
    if metric == "cosine" and n_components < max_dimension + 2:
        raise ValueError(
            f"got metric='cosine' for {n_components} components and homology up to dimension {max_dimension}: seen from the mean, "
            f"the directions of any cloud fill a {'circle' if n_components == 2 else 'sphere'}; wanted n_components of at least "
            f"{max_dimension + 2}, or None."
        )


def _measured(metric: Metric, n_neighbors: int, matrix: Matrix) -> str:
    if metric == "cosine":
        return "distance 1 − cosine, seen from the mean"
    if metric == "geodesic":
        parts = n_parts(matrix)
        apart = f", which falls into {parts} parts (raise n_neighbors to join them)" if parts > 1 else ""
        return f"distance along the graph of {n_neighbors} nearest neighbours{apart}"
    return ""


def _n_rows(cloud: Rows | Prepared) -> int:
    if isinstance(cloud, Prepared):
        return len(cloud.points)
    return len(cloud.table) if is_cloud(cloud) else len(np.asarray(cloud))
