"""Loops at many sites of the same rows, tested together: a correction that knows that layers resemble each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.geometry.multiple import adjusted
from nbinterp.geometry.nulls import seen_again, turned
from nbinterp.geometry.persistence import loop_pairs
from nbinterp.geometry.preparation import Components, prepare
from nbinterp.geometry.pvalues import sizes
from nbinterp.geometry.rows import checked
from nbinterp.geometry.significance import MIN_POINTS, MIN_PROMINENCE, RATIO_LEVEL
from nbinterp.geometry.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbinterp.geometry.circular import CloudOfSites
    from nbinterp.geometry.persistence import Diagram
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.spaces import Floats


def loop_significances(
    clouds: CloudOfSites | Mapping[str, Rows],
    n_components: Components = 2,
    *,
    within: Column | None = None,
    landmarks: int | None = None,
    max_norm_ratio: float | None = 3.0,
    n_null: int = 199,
    alpha: float = 0.01,
    min_prominence: float = MIN_PROMINENCE,
    ratio_level: float = RATIO_LEVEL,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Test the loops of the same rows at many sites and correct for having looked at all of them.

    Parameters
    ----------
    clouds : Cloud of several sites, or mapping of name to Cloud or array ``[row, d_model]``
        The same rows at each site. A row that is set aside at one site is left out at all.
    n_components, within, landmarks, max_norm_ratio, seed
        As for `persistence`.
    n_null, alpha, min_prominence, ratio_level, progress
        As for `significance`.

    Returns
    -------
    DataFrame
        One line a site: ``site``, ``lifetime``, ``prominence``, ``ratio`` (death / birth), ``p`` (the larger of the p-values of lifetime and
        prominence against Gaussians of the same covariance, uncorrected), ``p_holm`` (Holm's correction), ``p_joint`` (the share of null clouds that do as well at *any* site),
        ``p_ratio`` (of death / birth, uncorrected), ``verdict`` (from ``p_joint``, the prominence and ``p_ratio``).

    Raises
    ------
    ValueError
        For no sites, other numbers of rows at one of them, too few rows, or draws that cannot reach `alpha`.

    Notes
    -----
    A null draw turns the rows among each other in the same way at all sites (see `nulls.null_cloud`). For rows that are
    Gaussian over all sites together this changes nothing of their distribution; so it keeps how sites resemble each other, and the largest
    statistic over sites, compared with those of the draws, holds the chance of any false loop under `alpha`
    (max-T: Westfall and Young 1993) without paying for layers that repeat each other. The statistic of a site is the
    smaller of the logarithms of lifetime and prominence, each in standard deviations from its mean over the draws.
    """
    named = clouds if not hasattr(clouds, "sites") else {str(site): clouds[str(site)] for site in clouds.sites}
    if not named:
        raise ValueError("got no sites to test; give at least one.")
    if not 0 < alpha < 1 or 1 / (n_null + 1) > alpha:
        raise ValueError(
            f"got alpha={alpha:g}, n_null={n_null}; wanted alpha between 0 and 1 and n_null of at least 1 / alpha − 1."
        )
    sites = {name: checked(cloud, max_norm_ratio=max_norm_ratio) for name, cloud in named.items()}
    first = next(iter(sites.values()))
    for name, one in sites.items():
        if len(one.points) != len(first.points):
            raise ValueError(
                f"got {len(one.points)} rows at {name} and {len(first.points)} at the first site; wanted the same rows."
            )
    kept = np.logical_and.reduce([one.kept for one in sites.values()])
    groups = None if within is None else first.column(within, "within")[kept]
    prepared = [
        prepare(
            one.points[kept],
            n_components,
            within=groups,
            landmarks=landmarks,
            max_norm_ratio=None,
            deduplicate=False,
            seed=seed,
        )
        for one in sites.values()
    ]
    if len(prepared[0].points) < MIN_POINTS:
        raise ValueError(f"got {len(prepared[0].points)} points; wanted at least {MIN_POINTS}: collect more rows.")
    draw = turned([one.scores for one in prepared], seed)
    # lifetime, prominence and death / birth of the longest-lived loop, the clouds' own in front: [statistic, site, draw]
    longest = np.empty((3, len(sites), n_null + 1))
    longest[:, :, 0] = np.transpose([_size(loop_pairs(one.points)) for one in prepared])
    with one_thread:
        for i in range(n_null):
            drawn = draw(i)
            points = drawn if landmarks is None else [seen_again(*pair) for pair in zip(prepared, drawn, strict=True)]
            longest[:, :, i + 1] = np.transpose([_size(loop_pairs(one)) for one in points])
            if progress is not None:
                progress(i + 1, n_null)
    p_lifetime, p_prominence, p_ratio = (_reached(one)[:, 0] for one in longest)
    p = np.maximum(p_lifetime, p_prominence)
    height = _height(longest[:2])
    best = height.max(axis=0)
    p_joint = np.array([(best >= own - 1e-12).mean() for own in height[:, 0]])
    # what one site alone would not have, the best of many has not either
    p_joint = np.maximum(p_joint, p)
    lifetime, prominence, ratio = longest[:, :, 0]
    found = (p_joint <= alpha) & (prominence >= min_prominence) & (p_ratio <= ratio_level)
    return pd.DataFrame(
        {
            "site": list(sites),
            "lifetime": lifetime,
            "prominence": prominence,
            "ratio": ratio,
            "p": p,
            "p_holm": adjusted(p, "holm"),
            "p_joint": p_joint,
            "p_ratio": p_ratio,
            "verdict": np.where(found, "a loop", "no loop"),
        }
    )


def joint_loop_p(diagrams: Sequence[Diagram], drawn: Sequence[Sequence[Floats]]) -> Floats:
    """Return p of any loop at all in each diagram, corrected for having looked at all of them: ``[diagram]``.

    Parameters
    ----------
    diagrams : sequence of Diagram
        Of the same rows.
    drawn : sequence of sequence of array ``[class, 2]``
        For each diagram the loops of its null clouds, drawn together (see `loops_drawn_together`).
    """
    by_statistic = np.transpose(
        [[_size(one) for one in (diagram.h1, *null)] for diagram, null in zip(diagrams, drawn, strict=True)], (2, 0, 1)
    )[:2]
    own = np.max([_reached(one)[:, 0] for one in by_statistic], axis=0)
    # what one look alone would not have, many have not either
    p: Floats = np.maximum(stepped_down(_height(by_statistic)), own)
    return p


def stepped_down(heights: Floats) -> Floats:
    """Return p of each look, corrected for all, from statistics ``[look, draw]`` with the cloud's own in front: ``[look]``.

    The largest look is compared with the largest of all looks in each draw, the second with the largest of all but that
    one, and so on (step-down max-T: Westfall and Young 1993, section 2.6).
    """
    order = np.argsort(-heights[:, 0], kind="stable")
    largest = np.maximum.accumulate(heights[order[::-1]], axis=0)[::-1]
    p = np.empty(len(heights))
    p[order] = np.maximum.accumulate((largest >= largest[:, :1] - 1e-12).mean(axis=1))
    return p


def _size(loops: Floats) -> Floats:
    """Return lifetime, prominence and death / birth of the longest-lived loop: ``[3]``, zeros without any."""
    return sizes(loops)[0] if len(loops) else np.zeros(3)


def _reached(values: Floats) -> Floats:
    """Return for each value the share of its line, itself included, that reaches it: ``[site, draw]``."""
    n = values.shape[1]
    below = [np.searchsorted(np.sort(line), line, side="left") for line in values]
    share: Floats = (n - np.array(below)) / n
    return share


def _height(sizes: Floats) -> Floats:
    """Return the statistic ``[site, draw]``: the smaller of both, in standard deviations over the draws."""
    # a draw without any loop is far below all others, but must not decide their spread
    logs = np.log(np.maximum(sizes, 1e-3 * sizes.max(axis=2, keepdims=True).clip(1e-300)))
    spread = logs.std(axis=2, keepdims=True)
    height: Floats = ((logs - logs.mean(axis=2, keepdims=True)) / np.where(spread > 0, spread, 1)).min(axis=0)
    return height
