"""What an exploration found: a report for people to read, and everything that was computed."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import altair as alt
    import pandas as pd

    from nbinterp.geometry.clusters import Clusters
    from nbinterp.geometry.coordinates import CircularCoordinates
    from nbinterp.geometry.dimension import IntrinsicDimension
    from nbinterp.geometry.embedding import Embedding
    from nbinterp.geometry.encoding import EncodingMap
    from nbinterp.geometry.preparation import Prepared
    from nbinterp.geometry.significance import Significance


@dataclass(frozen=True, eq=False)
class Exploration:
    """What was found at one site.

    Parameters
    ----------
    prepared : Prepared
        The rows on the principal components that parallel analysis keeps.
    picture : Embedding
        The rows in two dimensions.
    dimension : IntrinsicDimension or None
        None with too few rows.
    loops : mapping of int to Significance
        By the number of principal components that homology saw.
    clusters : Clusters or None
        None with too few rows.
    coordinates : CircularCoordinates or None
        Of the surest loop, where one was found.
    """

    prepared: Prepared
    picture: Embedding
    dimension: IntrinsicDimension | None
    loops: Mapping[int, Significance]
    clusters: Clusters | None
    coordinates: CircularCoordinates | None


@dataclass(frozen=True, eq=False)
class Report:
    """What there is in a cloud, how sure that is, what was looked at, and what could not be said.

    Parameters
    ----------
    questions : DataFrame
        What `frame` gives.
    sites : mapping of str to Exploration
        Everything that was computed, by site; ``""`` for a bare array.
    encoding : EncodingMap or None
        Where attributes stand; None where there were none to ask about.
    unsaid : tuple of str
        What could not be said, and why: one sentence each.
    alpha : float
        Chance of any false finding in the whole report.
    finished : bool
        False when it was stopped before all was asked.
    provenance : str
        What was done, for people to read.
    """

    questions: pd.DataFrame = field(repr=False)
    sites: Mapping[str, Exploration] = field(repr=False)
    encoding: EncodingMap | None = field(repr=False)
    unsaid: tuple[str, ...]
    alpha: float
    finished: bool
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a question: ``site``, ``question``, ``answer``, ``found``, ``p``, ``p_adjusted``.

        p_adjusted is Holm's, over all loops and clusters of all sites; attributes are corrected as in `EncodingMap`. Where
        both are asked about, each has half of alpha. What describes only (the dimension) has no p.
        """
        return self.questions.copy()

    @property
    def found(self) -> pd.DataFrame:
        """The questions with a finding, the surest first."""
        return self.questions[self.questions["found"]].sort_values("p_adjusted", ignore_index=True)

    def __getitem__(self, site: str) -> Exploration:
        """Return everything that was computed at a site."""
        return self.sites[site]

    def chart(self, color: str | None = None) -> alt.VConcatChart:
        """Return, site by site, the picture and the persistence diagram of the surest look; `color` as for `Embedding.chart`."""
        from nbinterp.charts.theme import together

        return together([[one.picture.chart(color), surest(one.loops).chart()] for one in self.sites.values()])

    def __repr__(self) -> str:
        lines = [self._headline()]
        lines += [f"  {line.answer} ({_sure(line)})" for line in self.found.itertuples()]
        tested = self.questions["p"].notna()
        lines += [f"  {answer}" for answer in self.questions.loc[~tested, "answer"]]
        rest = self.questions[~self.questions["found"] & tested]
        lines += ["  asked, and not found:"] if len(rest) else []
        lines += [f"    {line.answer} ({_sure(line)})" for line in rest.itertuples()]
        lines += ["  could not be said:", *(f"    {sentence}" for sentence in self.unsaid)] if self.unsaid else []
        return "\n".join([*lines, f"  {self.provenance}"])

    def _headline(self) -> str:
        asked = int(self.questions["p"].notna().sum())
        what = (
            f"{len(self.found)} of {asked} questions have a finding"
            if len(self.found)
            else f"nothing here, in {asked} questions"
        )
        return f"Report: {what} (all corrected together; chance of any false one ≤ {self.alpha:g})" + (
            "" if self.finished else "; stopped before all was asked"
        )

    def to_html(self) -> str:
        """Return the report as HTML: the findings, everything that was asked, and what could not be said."""
        shown = self.questions.assign(
            p=self.questions["p"].map(_number), p_adjusted=self.questions["p_adjusted"].map(_number)
        )
        unsaid = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.unsaid)
        return (
            f"<div><p><strong>{html.escape(self._headline())}</strong></p>{shown.to_html(index=False, escape=True)}"
            + (f"<p>Could not be said:</p><ul>{unsaid}</ul>" if unsaid else "")
            + f"<p><small>{html.escape(self.provenance)}</small></p></div>"
        )

    def _repr_html_(self) -> str:
        return self.to_html()


class ExplorationStopped(KeyboardInterrupt):
    """An exploration was stopped; what was found until then is in `partial`.

    Parameters
    ----------
    message : str
        What happened.
    partial : Report
        What is there.
    """

    def __init__(self, message: str, partial: Report) -> None:
        super().__init__(message)
        self.partial = partial


def surest(loops: Mapping[int, Significance]) -> Significance:
    """Return the surest of the looks for loops at one site."""
    return min(loops.values(), key=lambda test: (not test.found, test.p if np.isfinite(test.p) else 2.0))


def _sure(line: Any) -> str:
    return f"p = {line.p_adjusted:.2g}"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"
