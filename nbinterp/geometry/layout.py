"""UMAP that follows a slider: a first frame at once, from the layout that is there, and the rest in the background."""

from __future__ import annotations

import threading
import time
import traceback
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from nbinterp.geometry.embedding import Embedding, Source, check_parameters, umap_embedding, umap_graph
from nbinterp.geometry.forces import FuzzyGraph, advance, compile_kernels, curve_of, decay, fuzzy_graph, start

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.geometry.neighbors import NeighborGraph
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.spaces import Floats

FIRST_FRAME = 50
"""Epochs of the first frame where there is no layout yet."""

WARM_FRAME, WARM_ALPHA = 30, 0.5
"""Epochs of the first frame from a layout that is there, and the step that it begins with: 1 would shake too much of it loose."""

SETTLED = 150
"""Epochs after which a layout is settled, those of the first frame included."""

REST_ALPHA = 0.3
"""The step that the background begins with."""

SECONDS_BETWEEN_FRAMES = 0.2
"""A page is not told of more frames than this."""

_SLICE = 10
_N_KEPT = 8


@dataclass(frozen=True)
class _Wanted:
    """What the picture is to be made with."""

    n_neighbors: int
    min_dist: float
    densmap: bool


class UmapSession:
    """UMAP of one cloud whose parameters can be moved like a slider.

    The neighbours are found once. `update` goes on from the layout that is there: it returns a first frame after a few
    epochs and lets a thread bring the layout to rest, which calls `on_frame` now and then. A newer update ends an
    older one; nothing queues up. It may be called from any thread, and does not hold up a notebook.

    An update starts from the layout that the one before had come to rest at or, where it was cut short, from its first
    frame: the same updates, of which the same ones came to rest, give the same pictures to the bit on one machine.
    A picture to be published is better made by `umap`, which depends on no history.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, Prepared or NeighborGraph
        The rows; a graph limits `n_neighbors` to its neighbours + 1.
    k_max : int
        The largest `n_neighbors` that will be asked for; at most the number of rows less 1, to which it is cut.
    n_neighbors, min_dist, densmap
        To begin with; see `umap`.
    on_frame : callable, optional
        Called with each `Embedding` of the background, in its thread; an error in it is reported as a warning.
    within, max_norm_ratio, seed
        As for `umap`.

    Raises
    ------
    ValueError, LookupError
        As `umap`.

    Examples
    --------
    >>> with UmapSession(cloud, on_frame=lambda shown: ...) as session:
    ...     first = session.update(min_dist=0.5)
    ...     last = session.settle()
    """

    def __init__(
        self,
        cloud: Source,
        k_max: int = 50,
        *,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        densmap: bool = False,
        on_frame: Callable[[Embedding], object] | None = None,
        within: Column | None = None,
        max_norm_ratio: float | None = 3.0,
        seed: int = 0,
    ) -> None:
        # while the neighbours are found
        warm_up()
        self.graph: NeighborGraph = umap_graph(
            cloud, n_neighbors, k_max=k_max, within=within, max_norm_ratio=max_norm_ratio, seed=seed
        )
        check_parameters(self.graph, n_neighbors, min_dist)
        self.on_frame = on_frame
        self.seed = seed
        self._wanted = _Wanted(n_neighbors, min_dist, densmap)
        self._fuzzy: dict[int, FuzzyGraph] = {}
        self._from: NDArray[np.float32] | None = None
        self._shown: Embedding | None = None
        # generations of updates: the newest, the one that is shown, the one at rest
        self._newest = 0
        self._of_shown = self._of_rest = -1
        self._closed = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._state = threading.Condition()
        self._laying_out = threading.Lock()

    @property
    def embedding(self) -> Embedding:
        """The frame that was shown last; the first one is made when there is none."""
        return self._shown or self.update()

    @property
    def settled(self) -> bool:
        """Whether the newest layout is at rest."""
        return self._of_rest == self._newest

    def update(
        self, *, n_neighbors: int | None = None, min_dist: float | None = None, densmap: bool | None = None
    ) -> Embedding:
        """Change parameters, and return the first frame of the newest ones; the rest goes on in the background.

        Called from several threads at once, each call returns the frame of the newest parameters.

        Parameters
        ----------
        n_neighbors, min_dist, densmap
            As for `umap`; what is not given stays.

        Raises
        ------
        ValueError
            For parameters out of their range (the layout before goes on), or a session that is closed.
        """
        given = {"n_neighbors": n_neighbors, "min_dist": min_dist, "densmap": densmap}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with self._state:
            if self._closed:
                raise ValueError("got an update for a closed UmapSession; make a new one.")
            wanted = replace(self._wanted, **changes)
            check_parameters(self.graph, wanted.n_neighbors, wanted.min_dist)
            self._wanted = wanted
            self._newest += 1
            self._failure = None
            mine = self._newest
        with self._laying_out:
            while True:
                with self._state:
                    if self._shown is not None and (self._of_shown >= mine or self._closed):
                        return self._shown
                    generation, wanted = self._newest, self._wanted
                if (first := self._first_frame(generation, wanted)) is not None:
                    return first
                if self._closed:
                    raise ValueError("got a UmapSession that was closed before its first frame; make a new one.")

    def settle(self, timeout: float | None = None) -> Embedding:
        """Wait until the newest layout is at rest and return it.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; then the last frame is returned.

        Raises
        ------
        RuntimeError
            When the background failed, or when called from `on_frame`, which the background waits for.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("got settle() called from on_frame, for which the layout waits; call it elsewhere.")
        if self._shown is None:
            self.update()
        with self._state:
            self._state.wait_for(lambda: self.settled or self._closed or self._failure is not None, timeout)
            if self._failure is not None:
                raise RuntimeError("the layout in the background failed; see the error above.") from self._failure
        return self.embedding

    def transform(self, rows: Rows) -> Floats:
        """Return where new rows belong in the picture that is shown: ``[new row, 2]``; see `Embedding.transform`."""
        return self.embedding.transform(rows)

    def close(self) -> None:
        """End the background; the frames that were shown stay valid."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "at rest" if self.settled else "moving"
        w = self._wanted
        kind = "densMAP" if w.densmap else "UMAP"
        return f"UmapSession by {kind} of {len(self.graph)} points: n_neighbors={w.n_neighbors}, min_dist={w.min_dist}, {state}"

    def _going_on(self, generation: int) -> bool:
        """Say whether this update is still the newest, and the interpreter not about to exit."""
        return generation == self._newest and not self._closed and threading.main_thread().is_alive()

    def _fuzzy_graph(self, n_neighbors: int) -> FuzzyGraph:
        """Return the fuzzy graph, remembered while a slider goes to and fro."""
        fuzzy = self._fuzzy.pop(n_neighbors, None) or fuzzy_graph(self.graph, n_neighbors)
        self._fuzzy[n_neighbors] = fuzzy
        if len(self._fuzzy) > _N_KEPT:
            del self._fuzzy[next(iter(self._fuzzy))]
        return fuzzy

    def _first_frame(self, generation: int, wanted: _Wanted) -> Embedding | None:
        """Lay out, show and keep the first frame, and start the background; None when a newer update has come."""
        fuzzy, cold = self._fuzzy_graph(wanted.n_neighbors), self._from is None
        begun = start(self.graph, fuzzy, "pca", self.seed) if self._from is None else self._from
        n_epochs = FIRST_FRAME if cold else WARM_FRAME
        layout = advance(
            begun,
            fuzzy,
            curve_of(wanted.min_dist),
            decay(n_epochs, 1.0 if cold else WARM_ALPHA),
            seed=self.seed,
            dense_from=(n_epochs // 2 if cold else 0) if wanted.densmap else None,
            going_on=lambda: self._going_on(generation),
        )
        if layout is None:
            return None
        shown = self._embedding(layout, wanted, n_epochs)
        with self._state:
            if not self._going_on(generation):
                return None
            self._from, self._shown, self._of_shown = layout, shown, generation
            rest = (generation, wanted, fuzzy, layout, n_epochs)
            self._thread = threading.Thread(target=self._come_to_rest, args=rest, name="nbinterp-umap")
            self._thread.start()
        return shown

    def _come_to_rest(
        self, generation: int, wanted: _Wanted, fuzzy: FuzzyGraph, layout: NDArray[np.float32], n_done: int
    ) -> None:
        alphas, told = decay(SETTLED - n_done, REST_ALPHA), time.monotonic()
        try:
            for begin in range(0, len(alphas), _SLICE):
                moved = advance(
                    layout,
                    fuzzy,
                    curve_of(wanted.min_dist),
                    alphas[begin : begin + _SLICE],
                    seed=self.seed,
                    first_epoch=n_done + begin,
                    dense_from=0 if wanted.densmap else None,
                    going_on=lambda: self._going_on(generation),
                )
                if moved is None:
                    return
                layout, last = moved, begin + _SLICE >= len(alphas)
                if last or time.monotonic() - told >= SECONDS_BETWEEN_FRAMES:
                    self._show(generation, layout, wanted, min(n_done + begin + _SLICE, SETTLED), last=last)
                    told = time.monotonic()
        except BaseException as error:
            # an interpreter that exits takes the threads away that share an epoch
            if self._going_on(generation):
                with self._state:
                    self._failure = error
                    self._state.notify_all()

    def _show(
        self, generation: int, layout: NDArray[np.float32], wanted: _Wanted, n_epochs: int, *, last: bool
    ) -> None:
        shown = self._embedding(layout, wanted, n_epochs)
        with self._state:
            if not self._going_on(generation):
                return
            self._shown = shown
        if self.on_frame is not None:
            try:
                self.on_frame(shown)
            except Exception:
                warnings.warn(f"on_frame failed; the layout goes on.\n{traceback.format_exc()}", stacklevel=1)
        if last:
            with self._state:
                if self._going_on(generation):
                    self._from, self._of_rest = layout, generation
                self._state.notify_all()

    def _embedding(self, layout: NDArray[np.float32], wanted: _Wanted, n_epochs: int) -> Embedding:
        parameters = {
            "n_neighbors": wanted.n_neighbors,
            "min_dist": wanted.min_dist,
            "n_epochs": n_epochs,
            "seed": self.seed,
        }
        return umap_embedding(self.graph, layout, parameters, densmap=wanted.densmap)


def warm_up() -> threading.Thread:
    """Compile UMAP in the background, so that the first call need not wait for it; `join` what is returned to wait.

    The first session on a machine compiles for some seconds; later ones load what it left on the disk.
    """
    thread = threading.Thread(target=compile_kernels, name="nbinterp-warm-up")
    thread.start()
    return thread
