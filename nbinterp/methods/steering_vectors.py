"""Directions to steer along, one a layer: from texts that show something and texts that do not, judged on texts held out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression

from nbinterp.geometry.crossvalidation import exchanges, task_of
from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.rows import centre_within, checked
from nbinterp.geometry.separation import separation
from nbinterp.geometry.told import Told
from nbinterp.spaces import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.tokens import TokensLike

    Mask = NDArray[np.bool_]
    Integers = NDArray[np.int64]

Method = Literal["mean difference", "contrastive", "probe"]


@dataclass(frozen=True, eq=False)
class SteeringVectors(Told):
    """A direction at each of some sites, from negative texts to positive ones, and how well each tells held-out texts apart.

    Parameters
    ----------
    directions : tuple of Direction, ``[site]``
        In the order of the sites. Adding one as it is, strength 1, moves the mean of the negative texts to that of the
        positive ones: all the way for the differences of means, along the direction for a probe's.
    method : {"mean difference", "contrastive", "probe"}
        How they were found.
    separation : DataFrame
        What `frame` gives.
    made_from, held_out : tuple of str
        The texts that the directions were made from, and those that they were judged on.
    groups : str
        What was held out together.
    alpha : float
        Level of the test.
    n_null : int
        Exchanges of labels.
    reachable : float
        The smallest p that so few held-out texts allow.
    model : ModelInfo
        The model that was read.
    provenance : str
        What was done, for people to read.
    """

    directions: tuple[Direction, ...] = field(repr=False)
    method: Method
    separation: pd.DataFrame = field(repr=False)
    made_from: tuple[str, ...] = field(repr=False)
    held_out: tuple[str, ...] = field(repr=False)
    groups: str
    alpha: float
    n_null: int
    reachable: float
    model: ModelInfo
    provenance: str

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the directions live."""
        return tuple(site for direction in self.directions if (site := direction.site) is not None)

    def direction(self, layer: int) -> Direction:
        """Return the direction at a layer.

        Raises
        ------
        LookupError
            When there is none there, or several.
        """
        found = [direction for direction, site in zip(self.directions, self.sites, strict=True) if site.layer == layer]
        if len(found) != 1:
            raise LookupError(
                f"got layer {layer!r}, at which there are {len(found)} of these directions; they live at "
                f"{', '.join(map(str, self.sites))}: choose one of .directions."
            )
        return found[0]

    @property
    def best(self) -> Direction:
        """The direction that separates the held-out texts best, by AUC and then d′; which one *steers* best `steering_effect` measures.

        Raises
        ------
        ValueError
            When nothing was held out.
        """
        if not self.held_out:
            raise ValueError(
                "got vectors for which nothing was held out, so that none is known to be best; make them with held_out=0.3."
            )
        return self.directions[self._best]

    @property
    def _best(self) -> int:
        # many reach an AUC of 1, and d′ goes on; of a single text on a side there is none
        return int(np.lexsort((self.separation["d_prime"].fillna(0), self.separation["auc"]))[-1])

    @property
    def separating(self) -> tuple[Site, ...]:
        """The sites whose direction separates the held-out texts: p ≤ `alpha`, corrected for the sites looked at."""
        return tuple(site for site, p in zip(self.sites, self.separation["p"], strict=True) if p <= self.alpha)

    def frame(self) -> pd.DataFrame:
        """Return one line a site.

        Returns
        -------
        DataFrame
            ``site``, ``layer``; ``norm``, the direction's length, and ``activation_norm``, the mean length of the texts'
            activations (giant ones set aside), in the units of the activations. Of held-out texts: ``auc``, the chance that a
            positive one lies further along than a negative one, with ``low`` and ``high``, its 95 % interval; ``accuracy``,
            the share on the right side of the middle between the means; ``d_prime``, the distance of the two means over
            the root mean square of their standard deviations; ``p``, the share of exchanges of labels with as large an AUC
            at *any* of the sites. NaN where nothing was held out.
        """
        return self.separation.copy()

    def chart(self) -> alt.VConcatChart:
        """Return the AUC of each site with its interval, above the direction's length as a share of the activations'."""
        from nbinterp.charts.steering_vectors import separation_chart

        return separation_chart(
            self.frame(),
            alpha=self.alpha,
            title=f"Steering vectors by {self.method}: {self.model.name}",
            subtitle=self.statement,
        )

    @property
    def statement(self) -> str:
        """What was found on the held-out texts, in a sentence."""
        n = len(self.sites)
        if not self.held_out:
            return "Nothing was held out: whether the directions hold on other texts is not known."
        best = self.separation.iloc[self._best]
        found = f"AUC {best['auc']:.2f} [{best['low']:.2f}, {best['high']:.2f}] at {best['site']}, p = {best['p']:.2g}"
        tried = f"{len(self.held_out)} held-out texts"
        if self.separating:
            at = f"{len(self.separating)} of {n} sites" if n > 1 else "the site"
            return f"{tried} are told apart at {at}, best {found}{_corrected(n)}."
        if self.reachable > self.alpha:
            return f"{tried} are too few to say: p cannot fall below {self.reachable:.2g}; at best {found}."
        return f"{tried} are not told apart at any site: at best {found}{_corrected(n)}."

    def __repr__(self) -> str:
        share = self.separation["norm"] / self.separation["activation_norm"]
        return "\n".join(
            [
                f"SteeringVectors at {_listed(self.sites)} of {self.model}, by {self.method}",
                f"  {self.statement}",
                f"  Their length is {share.min():.2g} to {share.max():.2g} of the mean activation there.",
                "  Telling texts apart is not steering: nb.steering_effect measures that.",
                f"  {self.provenance}",
            ]
        )


def steering_vectors(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    tokens: TokensLike = -1,
    method: Method = "mean difference",
    groups: Sequence[Hashable] | None = None,
    held_out: float = 0.3,
    n_null: int = 1999,
    alpha: float = 0.01,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> SteeringVectors:
    """Find a direction at each site that leads from negative texts to positive ones, and judge it on texts held out.

    Parameters
    ----------
    model : Model
        Who reads the texts.
    positive, negative : sequence of str
        Texts that show what is wanted, and texts that do not. For "contrastive" one to one: two texts of a pair differ in
        what they show and in as little else as can be, for example a question with one answer and with the other.
    sites : str, Site, or sequence of them
        Where to find directions; a component alone means all layers.
    tokens : as in interventions
        At which tokens the texts are read; over several the mean is taken.
    method : {"mean difference", "contrastive", "probe"}
        "mean difference": of the positive and the negative texts. "contrastive": the mean difference of pairs, of which
        whole ones are judged, each against its own middle. "probe": the normal of a logistic regression, as long as the
        difference of means reaches along it.
    groups : sequence, optional
        What belongs together and is held out together, e.g. each pair's template: one entry a pair, or one a text, those
        of `positive` first. By default pairs where there are as many positive as negative texts, else single texts.
    held_out : float
        The share of the groups that the directions are judged on and not made from; 0 for none.
    n_null : int
        Exchanges of the held-out texts' labels, within groups where these hold both.
    alpha : float
        Level of the test.
    seed : int
        Of the choice of what is held out, and of the exchanges.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each batch of texts; True stops with KeyboardInterrupt.

    Returns
    -------
    SteeringVectors
        With `frame`, `chart`, `direction`, `best`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For texts that are none, in both lists or too few, groups that cannot be held out, and sites that the model does not
        have: before it is run.

    Notes
    -----
    p is corrected for the sites by the largest AUC of all of them under the same exchange of labels (Westfall & Young
    1993). The interval of the AUC is Newcombe's [4]_, method 5, with groups for texts. The logistic regression has the
    usual quadratic penalty, C = 1, on activations that are centred and scaled by one number.

    References
    ----------
    .. [1] Marks & Tegmark, "The Geometry of Truth", 2023, section 5 (difference in means). arXiv:2310.06824
    .. [2] Rimsky et al., "Steering Llama 2 via Contrastive Activation Addition", 2023, section 3. arXiv:2312.06681
    .. [3] Alain & Bengio, "Understanding intermediate layers using linear classifier probes", 2016. arXiv:1610.01644
    .. [4] Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", 2006.
       Statistics in Medicine 25:559.
    """
    if method not in get_args(Method):
        raise ValueError(f"got method={method!r}; choose from {', '.join(get_args(Method))}.")
    enough_draws(n_null, alpha)
    rng = np.random.default_rng(seed)
    texts = _Texts.of(positive, negative, method, groups, held_out, rng)
    cloud = model.collect(texts.all, sites=sites, tokens=tokens, progress=progress, cancel=cancel)
    prompt_of = cloud.table["prompt"].to_numpy()
    orders = texts.exchanged(n_null, rng)
    directions, lines, nulls = [], [], []
    for site in cloud.sites:
        points = cloud[site].points
        rows = np.zeros((len(texts.all), points.shape[1]))
        np.add.at(rows, prompt_of, points)
        rows /= np.bincount(prompt_of)[:, None]
        length = typical_norm(rows)
        if method == "contrastive":
            rows = centre_within(rows, texts.blocks)
        made, middle = _direction(rows[~texts.held], texts.picked[~texts.held], method)
        if not made.any():
            raise ValueError(
                f"got texts that are read alike at {site}, so that there is no direction from negative to positive; read them at a "
                "token where they differ (tokens=…), or at another site."
            )
        directions.append(Direction(site, model.info, made))
        scores = (rows[texts.held] - middle) @ made / (made @ made)
        line, null = texts.judged(scores, orders)
        nulls.append(null)
        named = {"site": str(site), "layer": site.layer, "norm": directions[-1].norm, "activation_norm": length}
        lines.append({**named, **line})
    frame = pd.DataFrame(lines).astype({"layer": "Int64"})
    largest = np.max(nulls, axis=0)
    frame["p"] = [np.nan if not len(largest) else float((largest >= auc - 1e-12).mean()) for auc in frame["auc"]]
    same = (texts.labels[orders] == texts.labels).all(axis=1)
    read = (
        f"the mean of several tokens each ({tokens!r})"
        if len(prompt_of) > len(texts.all)
        else f"one token each ({tokens!r})"
    )
    return SteeringVectors(
        directions=tuple(directions),
        method=method,
        separation=frame,
        made_from=tuple(text for text, held in zip(texts.all, texts.held, strict=True) if not held),
        held_out=tuple(text for text, held in zip(texts.all, texts.held, strict=True) if held),
        groups=texts.unit,
        alpha=alpha,
        n_null=n_null,
        reachable=float(same.mean()) if texts.held.any() else 1.0,
        model=model.info,
        provenance=f"{len(positive)} positive and {len(negative)} negative texts, {read}; {texts.provenance}; "
        f"{n_null} exchanges of labels",
    )


def typical_norm(rows: Floats) -> float:
    """Return the mean length of activations ``[row, n_features]``, those of giant norm set aside: see `checked`."""
    source = checked(rows)
    return float(np.linalg.norm(source.points[source.kept], axis=1).mean())


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts, positive first, with their labels, which are held out, and together with what.

    Parameters
    ----------
    all : list of str, ``[text]``
        The texts.
    picked, held : mask, ``[text]``
        Which are positive, and which are held out.
    codes : array of int, ``[text]``
        The group of each.
    blocks : array of int, ``[text]``
        Within what labels are exchanged: pairs that are compared, else groups.
    unit : str
        What a group is.
    """

    all: list[str]
    picked: Mask
    held: Mask
    codes: Integers
    blocks: Integers
    unit: str

    @classmethod
    def of(
        cls,
        positive: Sequence[str],
        negative: Sequence[str],
        method: Method,
        groups: Sequence[Hashable] | None,
        share: float,
        rng: np.random.Generator,
    ) -> _Texts:
        for name, given in (("positive", positive), ("negative", negative)):
            if isinstance(given, str) or not all(isinstance(text, str) for text in given):
                raise TypeError(f"got {name}={given!r}; wanted a list of texts.")
            if len(given) < 2:
                raise ValueError(f"got {len(given)} {name} texts; wanted at least 2.")
        if both := set(positive) & set(negative):
            raise ValueError(f"got {min(both)!r} among the positive and the negative texts; wanted each on one side.")
        if not 0 <= share < 1:
            raise ValueError(f"got held_out={share!r}; wanted a share of the texts from 0 to below 1, for example 0.3.")
        n, m = len(positive), len(negative)
        if method == "contrastive" and n != m:
            raise ValueError(
                f"got {n} positive and {m} negative texts for method='contrastive', which compares them one to one; wanted "
                "as many of each, or method='mean difference'."
            )
        picked = np.arange(n + m) < n
        pairs = np.tile(np.arange(n), 2) if n == m else np.arange(n + m)
        codes, unit = pairs, "pair" if n == m else "text"
        if groups is not None:
            named = list(groups) * (2 if len(groups) == n == m else 1)
            if len(named) != n + m:
                raise ValueError(
                    f"got {len(groups)} groups for {n} positive and {m} negative texts; wanted one a text, or one a pair where "
                    "there are as many of each."
                )
            codes, unit = pd.factorize(pd.Series(named, dtype=object))[0], "group"
            if method == "contrastive" and (codes[:n] != codes[n:]).any():
                raise ValueError("got groups that divide pairs; wanted both texts of a pair in one group.")
        held = _held_out(codes, picked, share, rng)
        for what, side in (("held out", held), ("learnt from", ~held)) if share else ():
            if not (side & picked).any() or not (side & ~picked).any():
                raise ValueError(
                    f"got {len(set(codes.tolist()))} {unit}s for held_out={share:g}, by which no positive or no negative text is {what}; "
                    "wanted some of both: give more, or another share."
                )
        return cls([*positive, *negative], picked, held, codes, pairs if method == "contrastive" else codes, unit)

    @property
    def labels(self) -> Mask:
        """Which of the held-out texts are positive."""
        labels: Mask = self.picked[self.held]
        return labels

    @property
    def provenance(self) -> str:
        """Who was held out."""
        groups = len(set(self.codes[self.held].tolist()))
        several = "" if groups == 1 else "s"
        return (
            f"{groups} whole {self.unit}{several} of {len(set(self.codes.tolist()))} held out"
            if groups
            else "none held out"
        )

    def exchanged(self, n_null: int, rng: np.random.Generator) -> Integers:
        """Return exchanges of the held-out texts' labels: ``[1 + n_null, text]``, the first of which changes nothing."""
        if not self.held.any():
            return np.empty((0, 0), dtype=np.int64)
        return exchanges(task_of(self.labels, "classification", None, "label"), self.blocks[self.held], n_null, rng)

    def judged(self, scores: Floats, orders: Integers) -> tuple[dict[str, float], Floats]:
        """Return how well scores ``[held-out text]`` tell the labels apart, and the AUC under each exchange."""
        if not len(orders):
            return dict.fromkeys(("auc", "low", "high", "accuracy", "d_prime"), np.nan), np.empty(0)
        labels = self.labels
        n, m = int(labels.sum()), int((~labels).sum())
        ranks = rankdata(scores)
        null: Floats = (labels[orders] @ ranks - n * (n + 1) / 2) / (n * m)
        found = separation(scores, labels) if min(n, m) > 1 else None
        codes = self.codes[self.held]
        low, high = auc_interval(float(null[0]), *(len(set(codes[side].tolist())) for side in (labels, ~labels)))
        right = (np.mean(scores[labels] > 0) + np.mean(scores[~labels] < 0)) / 2
        return {
            "auc": float(null[0]),
            "low": low,
            "high": high,
            "accuracy": float(right),
            "d_prime": np.nan if found is None else found.d_prime,
        }, null


def _held_out(codes: Integers, picked: Mask, share: float, rng: np.random.Generator) -> Mask:
    """Return which rows are held out: a share of the groups, spread over groups of all shares of positive texts."""
    n_groups = int(codes.max()) + 1
    mostly = np.bincount(codes, picked, n_groups) / np.bincount(codes, minlength=n_groups)
    order = np.lexsort((rng.random(n_groups), mostly))
    steps = np.floor(np.arange(n_groups + 1) * share + 0.5)
    chosen = np.zeros(n_groups, dtype=np.bool_)
    chosen[order] = np.diff(steps) > 0
    held: Mask = chosen[codes]
    return held


def _direction(rows: Floats, picked: Mask, method: Method) -> tuple[Floats, Floats]:
    """Return a direction ``[n_features]`` from the other rows to those picked, and the middle between the means."""
    means = rows[picked].mean(axis=0), rows[~picked].mean(axis=0)
    across, middle = means[0] - means[1], (means[0] + means[1]) / 2
    if method != "probe" or not across.any():
        return across, middle
    centred = rows - rows.mean(axis=0)
    probe = LogisticRegression(max_iter=2000).fit(centred / np.sqrt((centred**2).mean()), picked)
    weights: Floats = probe.coef_[0]
    return weights * (weights @ across) / (weights @ weights), middle


def auc_interval(auc: float, n: int, m: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the area under the ROC curve of `n` against `m` rows, which has a width at 0 and 1 too.

    References
    ----------
    .. [1] Newcombe 2006, Statistics in Medicine 25:559, method 5.
    """
    z, more = norm.ppf((1 + level) / 2), (n + m) / 2 - 1

    def beyond(true: float) -> float:
        variance = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true))) / (n * m)
        return float(abs(auc - true) - z * np.sqrt(variance))

    tiny = 1e-9
    low = brentq(beyond, 0, auc - tiny) if auc > tiny else 0.0
    high = brentq(beyond, auc + tiny, 1) if auc < 1 - tiny else 1.0
    return float(low), float(high)


def _corrected(n: int) -> str:
    return f" (corrected for {n} sites)" if n > 1 else ""


def _listed(sites: Sequence[Site]) -> str:
    return ", ".join(map(str, sites)) if len(sites) < 4 else f"{len(sites)} sites from {sites[0]} to {sites[-1]}"
