"""What an atlas asks of a model: a playground for its claims, and the cloud collected again under what is done there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nbinterp.clouds import Cloud
from nbinterp.widgets.atlas.again import Moved, Recollection, check, collect_again, movement
from nbinterp.widgets.cells import this_cell
from nbinterp.widgets.protocol import Again, AtlasView, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.operations import Intervention
    from nbinterp.widgets.atlas.claims import Made
    from nbinterp.widgets.atlas.layouts import Rows
    from nbinterp.widgets.atlas.pictures import Pictures
    from nbinterp.widgets.playground import Playground
    from nbinterp.widgets.playground.asked import Asked


class Recollected:
    """A cloud collected again: at which site, under what, and how far rows moved.

    Parameters
    ----------
    site : int
        Which of the cloud's sites.
    what : str
        The interventions in words.
    again : Recollection
        What came back.
    moved : Moved
        How far.
    """

    def __init__(self, site: int, what: str, again: Recollection, moved: Moved) -> None:
        self.site = site
        self.what = what
        self.again = again
        self.moved = moved

    @property
    def points(self) -> NDArray[np.float64]:
        """The activations, ``[row again, feature]``, in the order of `Recollection.rows`."""
        return np.asarray(self.again.after, dtype=np.float64)

    def message(self, pictures: Pictures, view: AtlasView) -> Again | None:
        """Return the rows laid into the layout of a view, as the page shows them; None where they have no place in it."""
        rows = self.again.rows
        placed = pictures.place(view, self.site, self.points, rows)
        if placed is None:
            return None
        xy = np.full((pictures.rows.n, 2), np.nan, dtype="<f4")
        xy[rows] = placed
        return Again(
            site=self.site, layout=view["layout"], what=self.what, statement=self.moved.statement, xy=xy.tobytes()
        )

    def cloud(self, of: Cloud) -> Cloud:
        """Return the rows that were run again as a cloud, in the order of the one that they come from."""
        order = np.argsort(self.again.rows, kind="stable")
        rows = np.asarray(self.again.rows, dtype=np.intp)[order]
        return Cloud.from_arrays({of.sites[self.site]: self.points[order]}, of.table.iloc[rows], of.model)


class Steering:
    """The model's work for an atlas, on the thread that belongs to models; the newest wish wins.

    Parameters
    ----------
    model : Model or None
        Who is asked; without one nothing can be, and the sentence says so.
    rows : Rows
        The cloud.
    prompt : str or None
        What a playground is given; None for the text of a picked row.
    seed : int
        Of the control.
    find : callable
        Returns a claim by its name or id.
    on_error, on_task : callable
        Told what went wrong, and what runs.
    on_playground : callable
        Returns the playground that there is, and is given the one that is opened.
    on_collected : callable
        Given what was collected again, whole or as far as it came.
    """

    def __init__(
        self,
        model: Asked | None,
        rows: Rows,
        prompt: str | None,
        seed: int,
        *,
        find: Callable[[str], Made],
        on_error: Callable[[Exception], object],
        on_task: Callable[[str, Task | None], object],
        playground: Callable[[], Any],
        on_playground: Callable[[Playground], object],
        on_collected: Callable[[Recollected], object],
    ) -> None:
        self._model = model
        self._rows = rows
        self._prompt = prompt
        self._seed = seed
        self._find = find
        self._on_task = on_task
        self._playground = playground
        self._on_playground = on_playground
        self._on_collected = on_collected
        self._waiting: list[tuple[Made, object, list[str]]] = []
        self._in_cell = this_cell()
        # one cannot overtake the other
        self._channels = [] if model is None else [model.live(on_error), model.live(on_error)]

    @property
    def _asked(self) -> Asked:
        if self._model is None:
            raise ValueError(
                "got no model to ask; open the atlas with the one that the cloud comes from: nb.Atlas(cloud, model)."
            )
        return self._model

    def steer(self, claim: str | Made, how: str, track: str | Sequence[str] = (), scale: float | None = None) -> None:
        """Put a claim on the playground's stack soon; a playground is opened where there is none.

        Raises
        ------
        ValueError, LookupError
            For what cannot be done with it, where there is no prompt to steer at, and for what to track that is no token.
        """
        vocabulary = self._asked.vocabulary
        made = self._find(claim) if isinstance(claim, str) else claim
        act, tracked = made.act(how, scale), [track] if isinstance(track, str) else list(track)
        for token in tracked:
            vocabulary.id(token)
        if self._playground() is None:
            self._prompt_for(made)
        self._waiting.append((made, act, tracked))
        self._channels[0].ask(self._steered)

    def collect(self, site: int, picked: NDArray[np.intp]) -> None:
        """Collect the cloud again soon, at one site, under the playground's interventions.

        Raises
        ------
        ValueError
            As `again.check`, and where there is no playground.
        """
        model, playground = self._asked, self._playground()
        if playground is None:
            raise ValueError(
                "got no playground, whose interventions the cloud is collected under; steer a claim first."
            )
        acts = tuple(playground.experiment.interventions)
        check(self._rows.cloud, model, acts, self._rows.sites[site])
        self._channels[1].ask(lambda: self._collected(acts, site, picked))

    def finish(self) -> None:
        """Do now what was asked for."""
        for channel in self._channels:
            channel.finish()

    def stop(self) -> None:
        """End collecting; what came back is shown."""
        for channel in self._channels[1:]:
            channel.cancel()

    def _steered(self) -> Iterator[None]:
        # one that waited is not lost when the next one comes
        while self._waiting:
            made, act, track = self._waiting[0]
            playground = self._playground()
            if playground is None:
                self._on_task("steering", Task(name="opening a playground", done=0, total=0, stoppable=False))
                yield
                try:
                    playground = self._opened(made, track)
                finally:
                    self._on_task("steering", None)
                self._on_playground(playground)
            elif track:
                setting = playground.setting
                steps = {name: setting[name] + 1 for name in ("moment", "gesture")}
                playground.setting = {**setting, **steps, "tracked": track}
            del self._waiting[0]
            if made.kind == "direction":
                # what else can be done with it comes onto the playground's list
                playground.add(made.space, name=made.name, on=False)
            playground.add(act, name=made.name, on=True)
            yield

    def _opened(self, made: Made, track: Sequence[str]) -> Playground:
        # a notebook that only looks needs no playground
        from nbinterp.widgets.playground import Playground

        # it ends with the atlas
        with self._in_cell():
            return Playground(self._asked, self._prompt_for(made), track=track)

    def _prompt_for(self, made: Made) -> str:
        texts = self._rows.table["text"]
        prompt = self._prompt or next((text for text in texts.iloc[made.rows] if text), "")
        if not prompt:
            raise ValueError(
                "got rows without a text and no prompt; wanted one to steer at: nb.Atlas(cloud, model, prompt=…)."
            )
        return str(prompt)

    def _collected(self, acts: Sequence[Intervention], site: int, picked: NDArray[np.intp]) -> Iterator[None]:
        again, what = Recollection(), in_words(acts)
        cloud = self._rows.cloud[self._rows.sites[site]]
        try:
            for done, total in collect_again(self._asked, cloud, str(cloud.site), acts, picked, again, self._seed):
                name = f"collecting again: {what}"
                self._on_task("collecting", Task(name=name, done=done, total=total, stoppable=True))
                yield
        finally:
            # what came back is shown, also when it was stopped
            self._on_task("collecting", None)
            if again.rows:
                moved = movement(cloud, again, picked, self._rows.within)
                if all(act.site == cloud.site for act in acts if act.enabled):
                    said = (
                        f"{moved.statement} It acts at this very site: a later layer shows what the model makes of it."
                    )
                    moved = replace(moved, statement=said)
                self._on_collected(Recollected(site, what, again, moved))


def in_words(acts: Sequence[Intervention]) -> str:
    """Return which interventions act, and where; empty where none does."""
    return ", ".join(f"{type(act).__name__} at {act.site}" for act in acts if act.enabled)
