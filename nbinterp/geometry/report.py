"""What an exploration found: a report for people to read, and everything that was computed."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import altair as alt

    from nbinterp.geometry.clusters import Clusters
    from nbinterp.geometry.coordinates import CircularCoordinates
    from nbinterp.geometry.dimension import IntrinsicDimension
    from nbinterp.geometry.embedding import Embedding
    from nbinterp.geometry.encoding import EncodingMap
    from nbinterp.geometry.preparation import Prepared
    from nbinterp.geometry.significance import Significance


MOST_DRAWN = 6
"""Sites that a chart draws where it is not told which."""


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
        By the number of principal components that homology saw; empty where it was stopped before.
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

        p_adjusted is corrected for all that was looked at, in the whole report (see the notes of `explore`), and a finding has
        one of at most alpha. What describes only (the dimension) has no p.
        """
        return self.questions.copy()

    @property
    def found(self) -> pd.DataFrame:
        """The questions with a finding, the surest first."""
        return self.questions[self.questions["found"]].sort_values("p_adjusted", ignore_index=True)

    def __getitem__(self, site: str) -> Exploration:
        """Return everything that was computed at a site."""
        return self.sites[site]

    def chart(self, color: str | None = None, sites: Sequence[str] | None = None) -> alt.VConcatChart:
        """Return, site by site, the picture and the persistence diagram of the surest look.

        Parameters
        ----------
        color : str, optional
            As for `Embedding.chart`.
        sites : sequence of str, optional
            Which sites; by default all, and of more than six as many spread over them.

        Raises
        ------
        LookupError
            For a site that was not asked about.
        """
        from nbinterp.charts.theme import together

        known = list(self.sites)
        if unknown := [site for site in sites or () if site not in known]:
            raise LookupError(f"got the site {unknown[0]!r}, which was not asked about; known are {', '.join(known)}.")
        if sites is None:
            few = np.linspace(0, len(known) - 1, min(len(known), MOST_DRAWN)).round().astype(int)
            sites = [known[i] for i in few]
        drawn = [self.sites[site] for site in sites]
        rows = [[one.picture.chart(color), *([surest(one.loops).chart()] if one.loops else [])] for one in drawn]
        titles = list(sites) if len(known) > 1 else []
        if len(drawn) < len(known):
            titles[0] += f" ({len(drawn)} of {len(known)} sites are drawn)"
        return together(rows, titles)

    def summary(self) -> pd.DataFrame:
        """Return one line for each answer, whatever the number of sites that gave it, findings first.

        ``answer``, ``where`` (the sites in words), ``n_sites``, ``found``, and ``p_adjusted``, the largest of a finding's and the
        smallest of others'; NaN for what describes only, of which the least and the most are told.
        """
        order = list(dict.fromkeys(self.questions["site"]))
        told = self.questions.assign(tested=self.questions["p"].notna())
        told["answer"] = [
            str(line["answer"]).removesuffix(_at(line["site"])) if line["tested"] else line["question"]
            for line in told.to_dict("records")
        ]
        lines = []
        for _, same in told.groupby(["tested", "found", "answer"], sort=False):
            one, p = same.to_dict("records")[0], same["p_adjusted"]
            answer = one["answer"] if one["tested"] else self._described()
            where = _runs([order.index(site) for site in same["site"]], order)
            extreme = p.max() if one["found"] else p.min()
            lines.append((answer, where, len(same), one["found"], extreme))
        frame = pd.DataFrame(lines, columns=["answer", "where", "n_sites", "found", "p_adjusted"])
        return frame.sort_values(["found", "p_adjusted"], ascending=[False, True], kind="stable", ignore_index=True)

    def _described(self) -> str:
        """Say in words what dimensions the rows have."""
        known = {site: one.dimension.estimate for site, one in self.sites.items() if one.dimension is not None}
        if len(known) == 1:
            return str(self.questions.loc[self.questions["question"] == "dimension", "answer"].iloc[0])
        least, most = (which(known, key=known.__getitem__) for which in (min, max))
        return f"{known[least]:.1f} (at {least}) to {known[most]:.1f} (at {most}) dimensions"

    def __repr__(self) -> str:
        told = self.summary()
        tested = told["p_adjusted"].notna()
        lines = [self._headline(), *(f"  {_said(line)}" for line in told[told["found"]].to_dict("records"))]
        lines += [f"  {_said(line)}" for line in told[~tested & ~told["found"]].to_dict("records")]
        rest = told[tested & ~told["found"]]
        lines += (
            ["  asked, and not found:", *(f"    {_said(line)}" for line in rest.to_dict("records"))]
            if len(rest)
            else []
        )
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
        """Return the report as HTML: the findings, what was asked and not found, what could not be said, and every question."""
        told = self.summary()
        tested = told["p_adjusted"].notna()
        parts = {
            "Found": told[told["found"]],
            "Described": told[~tested & ~told["found"]],
            "Asked, and not found": told[tested & ~told["found"]],
        }
        lists = [(title, [_said(line) for line in part.to_dict("records")]) for title, part in parts.items()]
        lists.append(("Could not be said", list(self.unsaid)))
        every = self.questions.assign(
            answer=[str(line["answer"]).removesuffix(_at(line["site"])) for line in self.questions.to_dict("records")],
            found=self.questions["found"].map({True: "yes", False: ""}),
            p=self.questions["p"].map(_number),
            p_adjusted=self.questions["p_adjusted"].map(_number),
        ).drop(columns=["site"] if (self.questions["site"] == "").all() else [])
        shown = "".join(
            f'<p style="margin:.5em 0 0">{title}:</p><ul style="margin:0">'
            + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
            + "</ul>"
            for title, sentences in lists
            if sentences
        )
        table = every.to_html(index=False, escape=True, border=0)
        # JupyterLab sets tables to the right; all that a "<" can be here is a tag, texts are escaped
        table = re.sub("<(th|td)>", r'<\1 style="text-align:left">', table)
        return (
            f'<div class="tex2jax_ignore mathjax_ignore"><p><strong>{html.escape(self._headline())}</strong></p>{shown}'
            f"<details><summary>Every answer ({len(every)})</summary>"
            f'<div style="max-height:24em;overflow:auto">{table}</div></details>'
            f"<p><small>{html.escape(self.provenance)}</small></p></div>"
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


def _said(line: Mapping[Hashable, Any]) -> str:
    """Say a line of the summary: what, where, and how sure."""
    p, several = line["p_adjusted"], "≤" if line["found"] else "≥"
    sure = "" if np.isnan(p) else f" (p {'=' if line['n_sites'] == 1 or p >= 1 else several} {p:.2g})"
    where = "" if not line["where"] or np.isnan(p) else f" at {line['where']}"
    return f"{line['answer']}{where}{sure}"


def _runs(places: list[int], order: list[str]) -> str:
    """Name sites by their places in an order, those that follow one another by the first and the last."""
    if len(places) == len(order) > 2:
        return f"all {len(order)} sites"
    starts = [place for place in places if place - 1 not in places]
    ends = [place for place in places if place + 1 not in places]
    return ", ".join(
        order[start] if start == end else f"{order[start]}{',' if end == start + 1 else ' to'} {order[end]}"
        for start, end in zip(starts, ends, strict=True)
    )


def _at(site: str) -> str:
    return f" at {site}" if site else ""


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"
