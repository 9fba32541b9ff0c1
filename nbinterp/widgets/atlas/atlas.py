"""The atlas: one cloud in pictures that share one selection, and the way from a selection to a tested, causal claim."""

from __future__ import annotations

import functools
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import traitlets

from nbinterp.charts.clouds import scatter
from nbinterp.charts.data import MAX_ROWS
from nbinterp.charts.linked import linked_views
from nbinterp.widgets.asking import answer_page, told
from nbinterp.widgets.atlas.background import Background, Progress
from nbinterp.widgets.atlas.claims import Made, check, claim_messages, make, name_of, unique
from nbinterp.widgets.atlas.layouts import Laid, Rows
from nbinterp.widgets.atlas.lines import Lines, best_labels, drawn_columns, numeric_columns
from nbinterp.widgets.atlas.pictures import LAYOUTS, Pictures, checked_view
from nbinterp.widgets.atlas.shapes import Found, Homology
from nbinterp.widgets.atlas.steering import Recollected, Steering
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.columns import column_message
from nbinterp.widgets.protocol import Again, AtlasSpec, AtlasView, Positions, Task
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
    from nbinterp.spaces import Floats
    from nbinterp.widgets.atlas.again import Moved
    from nbinterp.widgets.playground import Playground
    from nbinterp.widgets.playground.asked import Asked


_AT_ONCE = 4000
"""Rows up to which the first picture is there when the widget is."""

_ANGLE = "angle round the loop"


def _claims_to_page(made: Sequence[Made], widget: Atlas) -> list[Any]:
    return claim_messages(made, widget.asked)


def _reference(playground: Any, widget: object = None) -> str:
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
    claims: Any = traitlets.Tuple().tag(sync=True, to_json=_claims_to_page, from_json=lambda _, widget: widget.claims)
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
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int | None = 2,
        prompt: str | None = None,
        seed: int = 0,
    ) -> None:
        _check(cloud, model, by, within, n_neighbors, min_dist)
        self._rows = Rows(cloud, within, seed)
        table = self._rows.table
        by = best_labels(table) if by is None else by
        self._cloud = cloud
        self._by, self._cyclic, self._seed = by, cyclic, seed
        self._n_components = n_components
        self._lines = Lines(table)
        self.asked: list[float] = []
        self._recollected: Recollected | None = None
        self._tasks: dict[str, Task] = {}
        self._layouts, self._homology, self._making = (
            Background(self._report, functools.partial(self._announce, what))
            for what in ("layouts", "homology", "claims")
        )
        self._shapes = Homology(self._rows, n_components, seed, self._homology, self._was_found)
        circle = by if cyclic and table[by].nunique() >= 3 else ""
        self._pictures = Pictures(self._rows, circle, seed, self._show, self._shapes.at, self._found_angles)
        numbers = numeric_columns(table)
        drawn = dict.fromkeys([by, *drawn_columns(table)])
        super().__init__(
            spec=AtlasSpec(
                n=len(cloud),
                title=f"Atlas of {cloud.model.name}",
                sites=self._rows.sites,
                layouts=list(LAYOUTS),
                model="" if model is None else model.info.name,
            ),
            columns=[column_message(table[name], name, cyclic and name == by) for name in drawn],
            view=AtlasView(
                layout="pca",
                x=numbers[0],
                y=numbers[min(1, len(numbers) - 1)],
                color=by,
                histogram=by,
                site=0,
                n_neighbors=min(n_neighbors, len(cloud) - 1),
                min_dist=float(min_dist),
            ),
        )
        self._steering: Steering | None = None
        if model is not None:
            self._steering = Steering(
                model,
                self._rows,
                prompt,
                seed,
                on_error=self._report,
                on_task=self._announce,
                playground=lambda: self.playground,
                on_playground=functools.partial(self.set_trait, "playground"),
                on_collected=self._came_back,
            )
        if len(cloud) <= _AT_ONCE:
            self._show("pca", {0: self._pictures.principal.at(0, _unseen)})
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
                "drop": self._answer_drop,
                "stop": self._answer_stop,
            },
        )
        self._lay_out()
        self._find_shapes(0)

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
        """The site that is shown."""
        return str(self._rows.sites[self.view["site"]])

    @property
    def rows(self) -> pd.DataFrame:
        """Both pictures of the site that is shown: ``row``, ``pc1``, ``pc2``, ``umap1``, ``umap2``, then the columns of the cloud's table.

        Waits for UMAP. Principal components are in units of their spread.
        """
        site, settings = self.view["site"], (self.view["n_neighbors"], self.view["min_dist"])
        self._layouts.stop()
        self._layouts.wait()
        flat = self._pictures.principal.at(site, _unseen)
        spread = self._pictures.umap.lay_out(site, *settings, lambda frame: None, _unseen)
        self._lay_out()
        (pc1, pc2), (umap1, umap2) = flat.xy.T, spread.xy.T
        return self._lines.framed({"pc1": pc1, "pc2": pc2, "umap1": umap1, "umap2": umap2})

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
        for one in self.claims:
            if name in (one.name, one.id):
                return cast("Made", one)
        known = ", ".join(repr(one.name) for one in self.claims) or "none yet"
        raise LookupError(f"got the claim {name!r}; there are {known}.")

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
        picked = self._picked
        check(kind, self._cloud, picked, column)
        self._making.wait()
        made = make(kind, self._rows, self.view["site"], picked, column, self._n_components, _unseen)
        return self._add(made, column, name)

    def claim_frame(self) -> pd.DataFrame:
        """Return what is claimed, as the page says it.

        Returns
        -------
        DataFrame
            A line for each claim: ``name``, ``kind``, ``site``, ``n_rows``, ``effect`` (AUC, share of the variance or R², held out),
            ``p`` of its own test, ``p_corrected`` for all looks so far (Holm), ``statement`` and ``caveat``.
        """
        columns = ["name", "kind", "site", "n_rows", "effect", "p", "p_corrected", "statement", "caveat"]
        return pd.DataFrame(claim_messages(self.claims, self.asked), columns=columns)

    def drop(self, claim: str | Made) -> None:
        """Forget a claim; that it was asked still counts as a look.

        Raises
        ------
        LookupError
            For an unknown one.
        """
        dropped = self.claim(claim if isinstance(claim, str) else claim.id)
        self.claims = tuple(one for one in self.claims if one is not dropped)

    def steer(self, claim: str | Made, how: str = "") -> Playground:
        """Send a claim to the playground as an intervention, and return the playground.

        Parameters
        ----------
        claim : str or Made
            The claim, or its name.
        how : {"", "out", "keep"}
            ``"out"`` takes a direction or a plane out of the stream, ``"keep"`` keeps nothing else; by default what the playground
            makes of it: a direction is added, a plane or a circle turned.

        Raises
        ------
        ValueError, LookupError
            Without a model, for an unknown claim, and for what cannot be done with it.
        """
        steering = self._asked_model()
        made = self.claim(claim) if isinstance(claim, str) else claim
        self.problem = ""
        steering.steer(made, how)
        steering.finish()
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
        steering = self._asked_model()
        # where no event loop runs, it is done when it is asked for
        self.problem, self._recollected = "", None
        steering.collect(self.view["site"], self._picked)
        steering.finish()
        # set by the work, which mypy cannot know
        back = cast("Recollected | None", self._recollected)
        if back is None:
            raise ValueError(self.problem or "got no row back, since the collection was stopped; collect once more.")
        return back.cloud(self._cloud)

    def wait(self) -> None:
        """Wait until all pictures and tests that were asked for are there."""
        for work in (self._layouts, self._homology, self._making):
            work.wait()
        if self._steering is not None:
            self._steering.finish()

    def frame(self) -> pd.DataFrame:
        """Return what the scatter shows: ``row``, ``x``, ``y``, ``picked``, then the columns of the cloud's table, your own first."""
        self._layouts.wait()
        x, y = self._shown_places().T
        return self._lines.framed({"x": x, "y": y, "picked": self.selection.mask(len(self._cloud))})

    def chart(self) -> alt.HConcatChart:
        """Return principal components, UMAP and persistence diagram as linked charts that can go on being edited."""
        found = self._shapes.now(self.view["site"])
        rows = self.rows
        if len(rows) > MAX_ROWS:
            rows = rows.sample(MAX_ROWS, random_state=self._seed).sort_index()
        members = found.diagram.members()
        members = members.assign(row=found.rows[members["row"].to_numpy()])
        threshold, ratio = found.test.limits
        classes = found.diagram.frame()
        color, cyclic = (self.view["color"], self._cyclic and self.view["color"] == self._by)
        color = color if color in rows.columns else self._by
        return linked_views(rows, classes, members, color=color, cyclic=cyclic, threshold=threshold, ratio=ratio)

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
        frame = self._lines.framed(dict(zip(("x", "y"), self._shown_places().T, strict=True)))
        few = frame if len(frame) <= _AT_ONCE else frame.sample(_AT_ONCE, random_state=self._seed).sort_index()
        color = self.view["color"] if self.view["color"] in frame.columns else None
        cyclic = self._cyclic and color == self._by
        return scatter(few, "x", "y", color=color, cyclic=cyclic, title=self.spec["title"], subtitle=self.site), few

    @property
    def description(self) -> str:
        """What is shown, in words."""
        site, known = self.view["site"], self._shapes.known
        loops = f"; homology says {known[site].test.verdict}" if site in known else ""
        picked = f"; {len(self._picked):,} picked" if len(self._picked) else ""
        return f"Atlas: {len(self._cloud):,} rows of {self.site} by {self.view['color']}, {self.view['layout']}{loops}{picked}."

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> dict[str, Any]:
        """Take a view in part, and refuse one that cannot be shown."""
        if not self.view:
            return dict(proposal["value"])
        try:
            return dict(checked_view(self.view, proposal["value"], self._rows, numeric_columns(self._lines.table)))
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None

    def _look_again(self, change: Any) -> None:
        old, new = change["old"] or {}, change["new"]
        if any(old.get(name) != new[name] for name in ("layout", "x", "y", "site", "n_neighbors", "min_dist")):
            self.problem = ""
            self._lay_out()
        if old.get("site") != new["site"]:
            self._find_shapes(new["site"])

    def _lay_out(self) -> None:
        """Bring the picture that is wanted now."""
        view = cast("AtlasView", dict(self.view))

        def bring(progress: Progress) -> None:
            self._pictures.bring(view, progress)
            self._place_again()

        self._layouts.ask("laying out", bring)

    def _found_angles(self, angles: Floats) -> None:
        """Offer the angles of a loop as a column to colour by."""
        column = column_message(pd.Series(angles), _ANGLE, cyclic=True)
        self.columns = [*(one for one in self.columns if one["name"] != _ANGLE), column]

    def _show(self, layout: str, laid: Mapping[int, Laid]) -> None:
        """Send layouts to the page, the titles and the note of the site that is shown."""
        sites = sorted(laid)
        shown = laid[self.view["site"]] if self.view["site"] in laid else laid[sites[0]]
        xy = np.stack([laid[site].xy for site in sites]).astype("<f4")
        self.positions = Positions(layout=layout, sites=sites, x=shown.x, y=shown.y, note=shown.note, xy=xy.tobytes())

    def _shown_places(self) -> NDArray[np.float32]:
        """Return where the rows lie in the picture that is shown, ``[row, 2]``; NaN where there is none yet."""
        n = len(self._cloud)
        if self.positions is None:
            return np.full((n, 2), np.nan, dtype=np.float32)
        xy = np.frombuffer(self.positions["xy"], dtype="<f4").reshape(-1, n, 2)
        sites = self.positions["sites"]
        places: NDArray[np.float32] = xy[sites.index(self.view["site"]) if self.view["site"] in sites else 0]
        return places

    def _find_shapes(self, site: int) -> None:
        if site in self._shapes.known:
            self.shapes = self._shapes.known[site].message
        else:
            self._shapes.look_soon(site)

    def _was_found(self, found: Found) -> None:
        self._look(float(found.test.p))
        if found.message["site"] == self.view["site"]:
            self.shapes = found.message

    def _look(self, p: float) -> int:
        """Count a question that was asked, and correct all claims for it; return its number."""
        self.asked.append(p)
        self.looks = len(self.asked)
        if self.claims:
            self.send_state("claims")
        return len(self.asked) - 1

    def _add(self, made: Made, column: str, name: str) -> Made:
        taken = [one.name for one in self.claims]
        given = unique(name, taken) if name else name_of(made, column, taken)
        number = self._look(made.p)
        complete = replace(made, id=uuid.uuid4().hex[:8], name=given, number=number)
        self.claims = (*self.claims, complete)
        return complete

    def _asked_model(self) -> Steering:
        if self._steering is None:
            raise ValueError(
                "got no model to ask; open the atlas with the one that the cloud comes from: nb.Atlas(cloud, model)."
            )
        return self._steering

    def _came_back(self, recollected: Recollected) -> None:
        self._recollected = recollected
        self._place_again()

    def _place_again(self) -> None:
        """Lay what was collected again into the layout that is shown."""
        back = self._recollected
        if back is None:
            return
        view, rows = cast("AtlasView", dict(self.view)), back.again.rows
        placed = self._pictures.place(view, back.site, back.points, rows)
        if placed is not None:
            xy = np.full((len(self._cloud), 2), np.nan, dtype="<f4")
            xy[rows] = placed
            statement = back.moved.statement
            self.again = Again(
                site=back.site, layout=view["layout"], what=back.what, statement=statement, xy=xy.tobytes()
            )

    def _answer_table(self, picked_only: bool = False, **query: Any) -> dict[str, Any]:
        return self._lines.answer_table(self.selection.mask(len(self._cloud)) if picked_only else None, **query)

    def _answer_make(self, kind: str, column: str = "", name: str = "") -> dict[str, Any]:
        picked, site = self._picked, self.view["site"]
        check(kind, self._cloud, picked, column)
        self.problem = ""

        def making(progress: Progress) -> None:
            self._add(make(kind, self._rows, site, picked, column, self._n_components, progress), column, name)

        self._making.ask(f"making a {kind} of {len(picked):,} rows", making, queue=True)
        return {}

    def _answer_steer(self, claim: str, how: str = "") -> dict[str, Any]:
        self.problem = ""
        self._asked_model().steer(self.claim(claim), how)
        return {}

    def _answer_collect(self) -> dict[str, Any]:
        self.problem = ""
        self._asked_model().collect(self.view["site"], self._picked)
        return {}

    def _answer_drop(self, claim: str) -> dict[str, Any]:
        self.drop(claim)
        return {}

    def _answer_stop(self) -> dict[str, Any]:
        for work in (self._layouts, self._homology, self._making):
            work.stop()
        if self._steering is not None:
            self._steering.stop()
        return {}

    @property
    def _picked(self) -> NDArray[np.intp]:
        rows = self.selection.rows
        return rows[rows < len(self._cloud)]

    def _report(self, error: Exception) -> None:
        self.problem = told(error)

    def _announce(self, what: str, task: Task | None) -> None:
        """Show what runs: of several, what began last."""
        if task is None:
            self._tasks.pop(what, None)
        else:
            self._tasks[what] = task
        running = list(self._tasks.values())
        self.task = running[-1] if running else None


def _check(
    cloud: Cloud, model: Asked | None, by: str | None, within: str | None, n_neighbors: int, min_dist: float
) -> None:
    table = cloud.table
    for name, column in (("by", by), ("within", within)):
        if column is not None and column not in table.columns:
            raise LookupError(
                f"got {name}={column!r}, which is not a column of the cloud's table; choose from {', '.join(map(repr, table.columns))}."
            )
    if len(cloud) < 4:
        raise ValueError(f"got a cloud of {len(cloud)} rows; wanted 4 or more to show: collect more.")
    if n_neighbors < 2 or not 0 <= min_dist <= 1:
        raise ValueError(f"got n_neighbors={n_neighbors}, min_dist={min_dist}; wanted 2 or more, and 0 to 1.")
    if model is not None and cloud.model.revision != model.info.revision:
        raise ValueError(
            f"got a cloud of {cloud.model} and the model {model.info}; wanted the model that it was collected from."
        )


def _unseen(done: int = 0, total: int = 0) -> None:
    """Report nothing."""
