"""The atlas: one cloud in pictures that share one selection, and the way from a selection to a tested, causal claim."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import traitlets

from nbinterp.charts.linked import COORDINATES
from nbinterp.widgets.asking import answer_page, told
from nbinterp.widgets.atlas.background import Backgrounds, Progress, unseen
from nbinterp.widgets.atlas.layouts import Laid, Rows
from nbinterp.widgets.atlas.ledger import Ledger
from nbinterp.widgets.atlas.lines import Lines, best_labels, drawn_columns
from nbinterp.widgets.atlas.pictures import Pictures, positions_of
from nbinterp.widgets.atlas.shapes import Found, Homology
from nbinterp.widgets.atlas.steering import Recollected, Steering, in_words
from nbinterp.widgets.atlas.stills import Still, linked_chart
from nbinterp.widgets.atlas.views import check_opening, checked_view, first_view, index_of, spec_of
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.columns import column_message
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.selection import Selection, SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.geometry.significance import Significance
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.widgets.atlas.again import Moved
    from nbinterp.widgets.atlas.claims import Made
    from nbinterp.widgets.playground import Playground
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.protocol import AtlasView


_AT_ONCE = 4000
"""Rows up to which the first picture is there when the widget is."""

_ANGLE = "angle round the loop"


def _reference(playground: Any, _: object) -> str:
    return "" if playground is None else f"IPY_MODEL_{playground.model_id}"


class Atlas(Widget):
    """A cloud in pictures that share one selection, from a lasso to a tested claim, and to an intervention.

    Scatter (principal components, UMAP, circular coordinates, two columns), persistence diagram and bars, histogram and table
    are linked: what is picked in one is picked in all, and in Python. A slider moves the cloud through its layers. A
    selection becomes a direction, a plane or a circle, each with a test that knows that it was picked by eye; with a
    model it goes to a playground, and the cloud is collected again under the interventions there.

    Parameters
    ----------
    cloud : Cloud
        Of one site or several.
    model : Model, optional
        Who is steered; the model that the cloud was collected from.
    by : str, optional
        The column to colour by; by default the first one of yours that has 2 to 24 labels.
    within : str, optional
        Subtract the mean of each group of this column first, e.g. ``"template"``.
    cyclic : bool
        Whether the labels of `by` go round.
    site : str or Site, optional
        Which of the cloud's sites to show first; the first one by default.
    n_neighbors, min_dist
        Of UMAP, to begin with; of a small cloud all rows are neighbours.
    n_components : int or None
        Principal components that homology sees; None for all features.
    prompt : str, optional
        What the playground is given; by default the text of a picked row.
    seed : int
        Of UMAP, samples and null clouds.

    Attributes
    ----------
    selection : Selection
        What is picked, both ways: ``atlas.selection = {"rows": [3, 4]}``. Observe it to follow the hand.
    view : dict
        What is shown: ``layout``, ``x``, ``y``, ``color``, ``histogram``, ``site`` (an index), ``n_neighbors``, ``min_dist``. May be set,
        also in part.
    claims : tuple of Made
        What selections were made into; see `claim`.
    looks : int
        Questions asked so far: sites at which loops were tested, and selections made into something. The p-values on the page are
        corrected for all of them (Holm), dropped claims included. A site that is left before its test is through is no look.
    site : str
        The site that is shown; may be set to another one of the cloud's: ``atlas.site = "resid_post.20"``.
    playground : Playground or None
        Where claims are steered; may be set to one of yours.

    Raises
    ------
    ValueError, LookupError
        For too few rows, an unknown column, or a model that the cloud does not come from, before anything is computed.

    Examples
    --------
    >>> atlas = nb.Atlas(cloud, model, by="month", within="template")  # doctest: +SKIP
    """

    _esm = Bundle("atlas.js")
    _css = Bundle("atlas.css")

    spec = traitlets.Dict().tag(sync=True)
    columns: Any = traitlets.List().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    positions: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    shapes: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    claims: Any = traitlets.Tuple().tag(
        sync=True, to_json=lambda made, widget: widget._ledger.messages(made), from_json=lambda _, widget: widget.claims
    )
    looks = traitlets.Int(0).tag(sync=True)
    again: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    selection = SelectionTrait()
    playground: Any = traitlets.Any(None).tag(
        sync=True, to_json=_reference, from_json=lambda _, widget: widget.playground
    )
    task: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        cloud: Cloud,
        model: Asked | None = None,
        *,
        by: str | None = None,
        within: str | None = None,
        cyclic: bool = False,
        site: str | Site | None = None,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int | None = 2,
        prompt: str | None = None,
        seed: int = 0,
    ) -> None:
        check_opening(cloud, model, by, within, n_neighbors, min_dist)
        first = 0 if site is None else index_of(site, [str(one) for one in cloud.sites])
        self._rows = Rows(cloud, within, seed)
        table = self._rows.table
        by = best_labels(table) if by is None else by
        self._cloud = cloud
        self._by, self._cyclic, self._seed = by, cyclic, seed
        self._lines = Lines(table)
        self._recollected: Recollected | None = None
        self._work = Backgrounds(
            ["layouts", "homology", "claims"], self._report, functools.partial(self.set_trait, "task")
        )
        self._ledger = Ledger(self._rows, n_components, self._work["claims"], self._claimed)
        self._shapes = Homology(self._rows, n_components, seed, self._work["homology"], self._was_found)
        circle = by if cyclic and table[by].nunique() >= 3 else ""
        self._pictures = Pictures(self._rows, circle, seed, self._show, self._shapes.at, self._found_angles)
        super().__init__(
            spec=spec_of(cloud, model),
            columns=[column_message(table[name], name, cyclic and name == by) for name in drawn_columns(table, by)],
            view=first_view(self._rows, by, first, n_neighbors, min_dist),
        )
        self._steering = Steering(
            model,
            self._rows,
            prompt,
            seed,
            find=self._ledger.find,
            on_error=self._report,
            on_task=self._work.announce,
            playground=lambda: self.playground,
            on_playground=functools.partial(self.set_trait, "playground"),
            on_collected=self._came_back,
        )
        if len(cloud) <= _AT_ONCE:
            self._show("pca", {first: self._pictures.principal.at(first, unseen)})
        self.observe(self._look_again, names="view")
        answer_page(
            self,
            {
                "rows": self._lines.answer_rows,
                "table": self._answer_table,
                "search": self._lines.answer_search,
                "make": self._answer_make,
                "steer": self._answer_steer,
                "collect": self._answer_collect,
                "drop": self.drop,
                "stop": self._answer_stop,
            },
        )
        self._lay_out()
        self._shapes.look_soon(first)

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many rows there are to be picked."""
        return {"rows": len(self._cloud)}

    @property
    def selected(self) -> Cloud:
        """The picked rows as a cloud of all its sites; all rows when none is picked."""
        rows = self._picked
        return self._cloud.select(rows) if len(rows) else self._cloud

    @property
    def site(self) -> str:
        """The site that is shown; may be set to another one of the cloud's, LookupError for what is none."""
        return str(self._rows.sites[self.view["site"]])

    @site.setter
    def site(self, site: str | Site) -> None:
        self.view = {"site": index_of(site, self._rows.sites)}

    @property
    def rows(self) -> pd.DataFrame:
        """Both pictures of the site that is shown: ``row``, ``pc1``, ``pc2``, ``umap1``, ``umap2``, then the columns of the cloud's table.

        Waits for UMAP. Principal components are in units of their spread.
        """
        self._work["layouts"].stop()
        self._work["layouts"].wait()
        flat, spread = self._pictures.both(cast("AtlasView", dict(self.view)))
        self._lay_out()
        return self._lines.framed(dict(zip(COORDINATES, (*flat.T, *spread.T), strict=True)))

    @property
    def loops(self) -> Significance:
        """Whether the longest-lived loop of the site that is shown is more than noise; waits for it."""
        return self._shapes.now(self.view["site"]).test

    @property
    def movement(self) -> Moved | None:
        """How far rows moved when the cloud was collected again, beside the control; None before that."""
        return None if self._recollected is None else self._recollected.moved

    def claim(self, name: str) -> Made:
        """Return what a selection was made into, by its name or id; LookupError for an unknown one."""
        return self._ledger.find(name)

    def make(self, kind: str, *, rows: ArrayLike | None = None, column: str = "", name: str = "") -> Made:
        """Make the picked rows, or others, into a direction, a plane or a circle, and wait for its test.

        Parameters
        ----------
        kind : {"direction", "plane", "circle"}
            What.
        rows : mask ``[row]`` or array of int, optional
            Which are picked from now on; by default those that are.
        column : str
            The labels of a circle; without them a loop is looked for.
        name : str
            How it is called.

        Raises
        ------
        ValueError, LookupError
            For too few rows, and for what the geometry cannot do.
        """
        if rows is not None:
            self.selection = Selection(rows=np.asarray(rows))
        return self._ledger.make(kind, self.view["site"], self._picked, column, name)

    def claim_frame(self) -> pd.DataFrame:
        """Return what is claimed, as the page says it.

        Returns
        -------
        DataFrame
            A line for each claim: ``name``, ``kind``, ``site``, ``n_rows``, ``effect`` (AUC, share of the variance or R², held out),
            ``p`` of its own test, ``p_corrected`` for all looks so far (Holm), ``statement`` and ``caveat``.
        """
        return self._ledger.frame()

    def drop(self, claim: str | Made) -> None:
        """Forget a claim; that it was asked still counts as a look.

        Raises
        ------
        LookupError
            For an unknown one.
        """
        self._ledger.drop(claim)

    def steer(
        self, claim: str | Made, how: str = "", *, track: str | Sequence[str] = (), scale: float | None = None
    ) -> Playground:
        """Send a claim to the playground as an intervention, and return the playground.

        Parameters
        ----------
        claim : str or Made
            The claim, or its name.
        how : {"", "out", "keep"}
            ``"out"`` takes a direction or a plane out of the stream, ``"keep"`` keeps nothing else; by default what the playground
            makes of it: a direction is added, a plane or a circle turned.
        track : str or sequence of str
            Tokens that the playground follows from now on; by default those that it chose, or follows already.
        scale : float, optional
            How often a direction is added, 1 being the gap between the picked rows and the others.

        Raises
        ------
        ValueError, LookupError
            Without a model, for an unknown claim, for what cannot be done with it, and for what to track that is no token.
        """
        self.problem = ""
        self._steering.steer(claim, how, track, scale)
        self._steering.finish()
        if self.problem:
            raise ValueError(self.problem)
        return cast("Playground", self.playground)

    def collect(self) -> Cloud:
        """Collect the cloud again under the playground's interventions, show it beside itself, and return it.

        Returns
        -------
        Cloud
            At the site that is shown: one row for each row that was run again, in the order of the cloud.

        Raises
        ------
        ValueError
            Without a model or an intervention, and for a cloud that does not say its prompts.
        """
        # where no event loop runs, it is done when it is asked for
        self.problem, self._recollected = "", None
        self._steering.collect(self.view["site"], self._picked)
        self._steering.finish()
        # set by the work, which mypy cannot know
        back = cast("Recollected | None", self._recollected)
        if back is None:
            raise ValueError(self.problem or "got no row back, since the collection was stopped; collect once more.")
        return back.cloud(self._cloud)

    def wait(self) -> None:
        """Wait until all pictures and tests that were asked for are there."""
        self._work.wait()
        self._steering.finish()

    def frame(self) -> pd.DataFrame:
        """Return what the scatter shows.

        Returns
        -------
        DataFrame
            A line for each row and, where the cloud was collected again and is shown so, below them one for each row that came
            back: ``row``, ``x``, ``y``, ``picked``, ``interventions`` (what acted, in words; empty for untouched rows), then the
            columns of the cloud's table, your own first.
        """
        self._work["layouts"].wait()
        return self._still().frame()

    def chart(self) -> alt.HConcatChart:
        """Return principal components, UMAP and persistence diagram as linked charts that can go on being edited."""
        found, rows, color = self._shapes.now(self.view["site"]), self.rows, self.view["color"]
        color = color if color in rows.columns else self._by
        return linked_chart(rows, found, color=color, cyclic=self._goes_round, seed=self._seed)

    def close(self) -> None:
        """End all work and the view."""
        # one that was refused has no work, and is closed as well
        if "_steering" in vars(self):
            self._answer_stop()
            self._pictures.umap.close()
        super().close()

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the atlas as one HTML file in which one can pick, colour and look on, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        self.wait()
        picture, frame = self._picture()
        return page(self, "atlas", path, text=self.description, chart=picture, frame=frame)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        picture, frame = self._picture()
        made_of = origin_of(self.spec, self._lines.columns, self._by, self._rows.within, self._seed)
        return saved_bundle(view, "atlas", picture, self.description, frame, widget=self, origin=made_of)

    def _picture(self) -> tuple[alt.LayerChart, pd.DataFrame]:
        """Return the scatter as a chart, with its numbers."""
        look = {"color": self.view["color"], "cyclic": self._goes_round}
        return self._still().picture(**look, title=self.spec["title"], subtitle=self.site, seed=self._seed)

    @property
    def description(self) -> str:
        """What is shown, in words."""
        site, known = self.view["site"], self._shapes.known
        loops = f"; homology says {known[site].test.verdict}" if site in known else ""
        picked = f"; {len(self._picked):,} picked" if len(self._picked) else ""
        said = f"Atlas: {len(self._cloud):,} rows of {self.site} by {self.view['color']}, {self.view['layout']}{loops}{picked}."
        return f"{said}{self._still().remark}"

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> dict[str, Any]:
        """Take a view in part, and refuse one that cannot be shown."""
        return dict(checked_view(self.view, proposal["value"], self._rows) if self.view else proposal["value"])

    def _look_again(self, change: Any) -> None:
        old, new = change["old"] or {}, change["new"]
        if any(old.get(name) != new[name] for name in ("layout", "x", "y", "site", "n_neighbors", "min_dist")):
            self.problem = ""
            self._lay_out()
        if old.get("site") != new["site"]:
            self._shapes.look_soon(new["site"])

    def _lay_out(self) -> None:
        """Bring the picture that is wanted now."""
        view = cast("AtlasView", dict(self.view))

        def bring(progress: Progress) -> None:
            self._pictures.bring(view, progress)
            self._place_again()

        self._work["layouts"].ask("laying out", bring)

    def _found_angles(self, angles: Floats) -> None:
        """Offer the angles of a loop as a column to colour by."""
        column = column_message(pd.Series(angles), _ANGLE, cyclic=True)
        self.columns = [*(one for one in self.columns if one["name"] != _ANGLE), column]

    def _show(self, layout: str, laid: Mapping[int, Laid]) -> None:
        """Send layouts to the page."""
        self.positions = positions_of(layout, laid, self.view["site"])

    def _still(self) -> Still:
        """Return what the scatter shows."""
        view, picked = cast("AtlasView", dict(self.view)), self.selection.mask(len(self._cloud))
        return Still.of(self._lines, picked, in_words(self._cloud.interventions), view, self.positions, self.again)

    def _was_found(self, found: Found, new: bool) -> None:
        if new:
            self._ledger.look(float(found.test.p))
        if found.message["site"] == self.view["site"]:
            self.shapes = found.message

    def _claimed(self) -> None:
        """Tell the page of other claims, or of the same ones corrected for more looks."""
        self.looks = len(self._ledger.asked)
        if self.claims != self._ledger.made:
            self.claims = self._ledger.made
        elif self.claims:
            self.send_state("claims")

    def _came_back(self, recollected: Recollected) -> None:
        self._recollected = recollected
        self._place_again()

    def _place_again(self) -> None:
        """Lay what was collected again into the layout that is shown."""
        if self._recollected is not None:
            placed = self._recollected.message(self._pictures, cast("AtlasView", dict(self.view)))
            self.again = self.again if placed is None else placed

    def _answer_table(self, picked_only: bool = False, **query: Any) -> dict[str, Any]:
        return self._lines.answer_table(self.selection.mask(len(self._cloud)) if picked_only else None, **query)

    def _answer_make(self, kind: str, column: str = "", name: str = "") -> None:
        self.problem = ""
        self._ledger.make_soon(kind, self.view["site"], self._picked, column, name)

    def _answer_steer(self, claim: str, how: str = "") -> None:
        self.problem = ""
        self._steering.steer(claim, how)

    def _answer_collect(self) -> None:
        self.problem = ""
        self._steering.collect(self.view["site"], self._picked)

    def _answer_stop(self) -> None:
        self._work.stop()
        self._steering.stop()

    @property
    def _goes_round(self) -> bool:
        """Whether the colours go round."""
        return self._cyclic and self.view["color"] == self._by

    @property
    def _picked(self) -> NDArray[np.intp]:
        rows = self.selection.rows
        return rows[rows < len(self._cloud)]

    def _report(self, error: Exception) -> None:
        self.problem = told(error)
