"""Diagrams as vectors and at a distance: Betti curves, landscapes, images; bottleneck and Wasserstein."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtr

from nbinterp.geometry.matching import finite_bottleneck
from nbinterp.geometry.persistence import Diagram
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.spaces import Floats

    Pairs = Diagram | ArrayLike

MOST_MATCHED = 3000
"""Classes of two diagrams together that the Wasserstein distance is computed for: the cube of it in time."""


@dataclass(frozen=True, eq=False)
class BettiCurves(Told):
    """How many classes are alive at each scale.

    Parameters
    ----------
    scales : array, ``[scale]``
        In the units of the diagram.
    numbers : array of int, ``[dimension, scale]``
        Classes with birth ≤ scale < death.
    provenance : str
        What was done, for people to read.
    """

    scales: Floats = field(repr=False)
    numbers: NDArray[np.int64] = field(repr=False)
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a dimension and scale: ``dimension``, ``scale``, ``betti``."""
        n_dimensions, n_scales = self.numbers.shape
        return pd.DataFrame(
            {
                "dimension": np.repeat(np.arange(n_dimensions), n_scales),
                "scale": np.tile(self.scales, n_dimensions),
                "betti": self.numbers.ravel(),
            }
        )

    def chart(self) -> alt.Chart:
        """Return the curves, clusters, loops and cavities apart."""
        from nbinterp.charts.diagrams import betti_chart

        return betti_chart(self.frame(), title="Betti curves")

    def __repr__(self) -> str:
        most = ", ".join(f"at most {n} in H{d}" for d, n in enumerate(self.numbers.max(axis=1).tolist()))
        return f"BettiCurves at {len(self.scales)} scales: {most}\n  {self.provenance}"


@dataclass(frozen=True, eq=False)
class Landscape(Told):
    """The persistence landscape of one dimension (Bubenik 2015): functions that can be averaged over clouds.

    Parameters
    ----------
    scales : array, ``[scale]``
        In the units of the diagram.
    values : array, ``[level, scale]``
        The k-th largest of max(0, min(scale − birth, death − scale)) over all classes.
    dimension : int
        Of the classes.
    provenance : str
        What was done, for people to read.
    """

    scales: Floats = field(repr=False)
    values: Floats = field(repr=False)
    dimension: int
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a level and scale: ``level`` (from 1), ``scale``, ``value``."""
        n_levels, n_scales = self.values.shape
        return pd.DataFrame(
            {
                "level": np.repeat(np.arange(1, n_levels + 1), n_scales),
                "scale": np.tile(self.scales, n_levels),
                "value": self.values.ravel(),
            }
        )

    def chart(self) -> alt.Chart:
        """Return the levels as lines."""
        from nbinterp.charts.diagrams import landscape_chart

        return landscape_chart(self.frame(), title=f"Persistence landscape of H{self.dimension}")

    def __repr__(self) -> str:
        n_levels, n_scales = self.values.shape
        top = self.values.max(initial=0.0)
        return f"Landscape of H{self.dimension}: {n_levels} levels at {n_scales} scales, highest {top:.3g}\n  {self.provenance}"


@dataclass(frozen=True, eq=False)
class PersistenceImage(Told):
    """A diagram smoothed onto a grid (Adams et al. 2017): a vector of fixed length that changes little under noise.

    Parameters
    ----------
    births, lifetimes : array, ``[column + 1]`` and ``[row + 1]``
        Edges of the pixels, in the units of the diagram.
    values : array, ``[row, column]``
        Integral over each pixel of one Gaussian a class, weighted by its lifetime; row 0 has the shortest lifetimes.
    bandwidth : float
        Standard deviation of the Gaussians.
    dimension : int
        Of the classes.
    provenance : str
        What was done, for people to read.
    """

    births: Floats = field(repr=False)
    lifetimes: Floats = field(repr=False)
    values: Floats = field(repr=False)
    bandwidth: float
    dimension: int
    provenance: str

    @property
    def vector(self) -> Floats:
        """The pixels in one row, for a classifier."""
        return self.values.ravel()

    def frame(self) -> pd.DataFrame:
        """Return one line a pixel: ``birth``, ``birth_end``, ``lifetime``, ``lifetime_end``, ``value``."""
        row, column = (axis.ravel() for axis in np.indices(self.values.shape))
        return pd.DataFrame(
            {
                "birth": self.births[column],
                "birth_end": self.births[column + 1],
                "lifetime": self.lifetimes[row],
                "lifetime_end": self.lifetimes[row + 1],
                "value": self.values.ravel(),
            }
        )

    def chart(self) -> alt.Chart:
        """Return the image."""
        from nbinterp.charts.diagrams import image_chart

        return image_chart(self.frame(), title=f"Persistence image of H{self.dimension}")

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.values.shape))
        return f"PersistenceImage of H{self.dimension}: {shape} pixels, bandwidth {self.bandwidth:.3g}\n  {self.provenance}"


def betti_curves(diagram: Diagram, scales: int | ArrayLike = 200) -> BettiCurves:
    """Count the classes that are alive at each scale.

    Parameters
    ----------
    diagram : Diagram
        What `persistence` gave.
    scales : int or array ``[scale]``
        How many, from 0 to beyond the last finite death; or which: give the same to diagrams that are to be compared.
    """
    grid = _grid(np.concatenate(diagram.pairs), scales)
    alive = [
        np.searchsorted(np.sort(pairs[:, 0]), grid, side="right")
        - np.searchsorted(np.sort(pairs[:, 1]), grid, side="right")
        for pairs in diagram.pairs
    ]
    return BettiCurves(grid, np.array(alive, dtype=np.int64), diagram.provenance)


def landscape(diagram: Pairs, dimension: int = 1, *, n_levels: int = 5, scales: int | ArrayLike = 200) -> Landscape:
    """Compute the persistence landscape of one dimension.

    Parameters
    ----------
    diagram : Diagram or array ``[class, 2]``
        What `persistence` gave, or births and deaths. Classes that never die are left out.
    dimension : int
        Of the classes.
    n_levels : int
        How many functions.
    scales : int or array ``[scale]``
        As for `betti_curves`.

    Raises
    ------
    ValueError
        For a dimension that the diagram has not, or no level.
    """
    if n_levels < 1:
        raise ValueError(f"got n_levels={n_levels}; wanted at least 1.")
    pairs, provenance = _finite_pairs(diagram, dimension)
    grid = _grid(pairs, scales)
    values = np.zeros((n_levels, len(grid)))
    # a scale at a time: only so many of all classes' heights are kept
    for k, scale in enumerate(grid):
        heights = np.minimum(scale - pairs[:, 0], pairs[:, 1] - scale)
        heights = np.sort(heights[heights > 0])[::-1][:n_levels]
        values[: len(heights), k] = heights
    return Landscape(grid, values, dimension, provenance)


def persistence_image(
    diagram: Pairs,
    dimension: int = 1,
    *,
    size: int = 20,
    bandwidth: float | None = None,
    births: tuple[float, float] | None = None,
    lifetimes: tuple[float, float] | None = None,
) -> PersistenceImage:
    """Smooth one dimension of a diagram onto a grid.

    Parameters
    ----------
    diagram : Diagram or array ``[class, 2]``
        What `persistence` gave, or births and deaths. Classes that never die are left out.
    dimension : int
        Of the classes.
    size : int
        Pixels a side.
    bandwidth : float, optional
        Standard deviation of the Gaussians; by default as wide as a pixel is high.
    births, lifetimes : (float, float), optional
        Extent of the grid; by default of the classes. Give the same to diagrams that are to be compared.

    Raises
    ------
    ValueError
        For a dimension that the diagram has not, a grid without extent, or a bandwidth that is not positive.
    """
    pairs, provenance = _finite_pairs(diagram, dimension)
    lived = pairs[:, 1] - pairs[:, 0]
    if births is None:
        births = (float(pairs[:, 0].min()), float(pairs[:, 0].max())) if len(pairs) else (0.0, 1.0)
        births = births if births[1] > births[0] else (births[0], births[0] + (float(lived.max(initial=0)) or 1.0))
    if lifetimes is None:
        lifetimes = (0.0, float(lived.max(initial=0)) or 1.0)
    if size < 1 or births[1] <= births[0] or lifetimes[1] <= lifetimes[0]:
        raise ValueError(
            f"got size={size}, births={births}, lifetimes={lifetimes}; wanted at least one pixel and ends above their beginnings."
        )
    if bandwidth is None:
        bandwidth = (lifetimes[1] - lifetimes[0]) / size
    if not bandwidth > 0:
        raise ValueError(f"got bandwidth={bandwidth}; wanted a positive number in the units of the diagram.")
    columns, rows = np.linspace(*births, size + 1), np.linspace(*lifetimes, size + 1)
    across = np.diff(ndtr((columns - pairs[:, :1]) / bandwidth), axis=1)
    along = np.diff(ndtr((rows - lived[:, None]) / bandwidth), axis=1)
    return PersistenceImage(columns, rows, (along * lived[:, None]).T @ across, float(bandwidth), dimension, provenance)


def bottleneck(one: Pairs, other: Pairs, dimension: int = 1) -> float:
    """Return the bottleneck distance of two diagrams: how far the worst-matched class has to move, at best.

    If two clouds of as many points differ by at most ε at each point, it is at most 2ε (Chazal et al. 2009).

    Parameters
    ----------
    one, other : Diagram or array ``[class, 2]``
        What `persistence` gave, or births and deaths. Classes that never die are matched with each other, in the order
        of their births.
    dimension : int
        Of the classes.

    Returns
    -------
    float
        In the units of the diagrams; infinite where other numbers of classes never die. See
        `matching.finite_bottleneck` for how.
    """
    (a, never_a), (b, never_b) = (_split(diagram, dimension) for diagram in (one, other))
    if len(never_a) != len(never_b):
        return float("inf")
    return max(float(np.abs(never_a - never_b).max(initial=0.0)), finite_bottleneck(a, b))


def wasserstein(one: Pairs, other: Pairs, dimension: int = 1) -> float:
    """Return the 1-Wasserstein distance of two diagrams: how far all classes together have to move, at best.

    The movement of a class is its Euclidean distance in the plane of birth and death, to another class or to the
    diagonal. Parameters and return as for `bottleneck`; computed by persim.

    Raises
    ------
    ValueError
        For more than 3,000 classes together, of which all pairs would be compared.
    """
    # importing persim loads matplotlib
    from persim import wasserstein as of_finite

    (a, never_a), (b, never_b) = (_split(diagram, dimension) for diagram in (one, other))
    if len(a) + len(b) > MOST_MATCHED:
        raise ValueError(
            f"got {len(a)} and {len(b)} classes to match all with all; wanted at most {MOST_MATCHED} together: leave out those of "
            "short lifetimes, or take bottleneck."
        )
    if len(never_a) != len(never_b):
        return float("inf")
    moved = float(np.abs(never_a - never_b).sum())
    return moved + (float(of_finite(a, b)) if len(a) or len(b) else 0.0)


def _grid(pairs: Floats, scales: int | ArrayLike) -> Floats:
    if not isinstance(scales, int):
        return np.asarray(scales, dtype=np.float64)
    if scales < 2:
        raise ValueError(f"got scales={scales}; wanted at least 2, or the scales themselves.")
    finite = pairs[np.isfinite(pairs)]
    return np.linspace(0, 1.05 * (float(finite.max(initial=0)) or 1.0), scales)


def _pairs(diagram: Pairs, dimension: int) -> Floats:
    if isinstance(diagram, Diagram):
        if not 0 <= dimension < len(diagram.pairs):
            raise ValueError(
                f"got dimension={dimension} of a diagram up to {len(diagram.pairs) - 1}; make it with a larger max_dimension."
            )
        return diagram.pairs[dimension]
    pairs = np.asarray(diagram, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"got births and deaths of shape {list(pairs.shape)}; wanted [class, 2].")
    return pairs


def _split(diagram: Pairs, dimension: int) -> tuple[Floats, Floats]:
    """Return the classes that die, and the sorted births of those that never do."""
    pairs = _pairs(diagram, dimension)
    dies = np.isfinite(pairs[:, 1])
    return pairs[dies], np.sort(pairs[~dies, 0])


def _finite_pairs(diagram: Pairs, dimension: int) -> tuple[Floats, str]:
    provenance = diagram.provenance if isinstance(diagram, Diagram) else "births and deaths as given"
    return _split(diagram, dimension)[0], provenance
