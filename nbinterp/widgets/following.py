"""Views that follow a Playground: they read what it shows while its sliders move, and put something on its stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import traitlets

from nbinterp.interventions import Ablate
from nbinterp.widgets.asking import answer_page, told
from nbinterp.widgets.protocol import Offered
from nbinterp.widgets.selection import Link, SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nbinterp.experiment import Experiment
    from nbinterp.operations import Intervention

MOST_A_STEP = 10_000
"""Bytes that are sent at each step of a slider; more waits until the hand rests, or is not sent at all."""

MOST_PLACES = 12
"""More places than these are not acted at in one click."""

_AT_ONCE = 1.0  # seconds that a reading may take to be made while the hand moves
_REST = 0.15  # seconds without a new answer, after which the hand rests
_STEP = 0.005


class Work(Protocol):
    """A channel in which the newest work wins."""

    def ask(self, work: Callable[[], Iterator[None]]) -> None:
        """Run this in place of what was asked before."""

    def cancel(self) -> None:
        """Drop it."""


class Followed(Protocol):
    """What can be followed; `nbinterp.Playground` can."""

    selection: Any
    answer: Any
    """With the prompt's ``tokens``, as texts."""

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many tokens, layers and heads there are."""

    @property
    def experiment(self) -> Experiment:
        """What it shows, bound to its model."""

    def add(self, found: Any, name: str | None = ..., *, on: bool = ...) -> None:
        """Put an intervention on its stack."""

    def live(self, on_error: Callable[[Exception], object]) -> Work:
        """Return a channel for work on its model."""

    def observe(self, handler: Any, names: Any = ...) -> None:
        """Call `handler` when a trait changes."""

    def unobserve(self, handler: Any, names: Any = ...) -> None:
        """Call it no more."""


class Offer(NamedTuple):
    """What can be done where something is picked.

    Parameters
    ----------
    words : str
        What it does, and where: ``"Ablate z.3.5 at “ France”"``.
    acts : sequence of Intervention
        What is put on the stack.
    name : str, optional
        What to call them there; by default what they are called anyway.
    """

    words: str
    acts: Sequence[Intervention]
    name: str | None = None


class Follower(Widget):
    """A view that shares what is picked, and follows a Playground where it is told to.

    While a slider moves, the newest experiment is read again as often as leaves the Playground half of the time; what takes
    longer than a second waits until the hand rests. A subclass says how in `_take`, and in `_offers` what can be done.
    """

    selection = SelectionTrait()
    offers: Any = traitlets.List().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    _followed: Followed | None = None
    _live: Work | None = None
    _link: Link | None = None
    _took = 0.0
    _ended = 0.0
    _moved = 0.0

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many there are of each kind that can be picked."""
        raise NotImplementedError

    def close(self) -> None:
        """Follow nobody any more, and close the widget."""
        # ipywidgets closes once more what was closed before it is forgotten
        if self._followed is not None:
            self._followed.unobserve(self._moved_on, names="answer")
            self._followed = None
        if self._link is not None:
            self._link.unlink()
            self._link = None
        if self._live is not None:
            self._live.cancel()
        super().close()

    def _follow(self, followed: Followed) -> None:
        """Follow a Playground from now on; called once, at the end of a subclass's ``__init__``."""
        self._followed, self._live = followed, followed.live(self._report)
        self._link = Link((self, followed))
        followed.observe(self._moved_on, names="answer")
        self.observe(self._offer, names=("selection", "view"))
        answer_page(self, {"put": self._put})
        self._moved_on()

    def _take(self, experiment: Experiment) -> bool:
        """Show what the followed Playground shows now; return whether `_take_more` has more to show."""
        return False

    def _take_more(self) -> None:
        """Show the rest of it, once the hand rests."""

    def _offers(self, experiment: Experiment, texts: Sequence[str]) -> Iterable[Offer]:
        """Return what can be done where something is picked, in an experiment whose tokens have these texts."""
        return ()

    def _report(self, error: Exception) -> None:
        self.problem = told(error)

    def _moved_on(self, change: object = None) -> None:
        self._moved = time.monotonic()
        if self._live is not None:
            self._live.ask(self._read)

    def _read(self) -> Iterator[None]:
        # a reading would hold up the answers that the hand waits for: they get as much time as the readings
        pause = self._took if self._took < _AT_ONCE else float("inf")
        while self._moving and time.monotonic() < self._ended + pause:
            time.sleep(_STEP)
            yield
        if self._followed is None:
            return
        began = time.monotonic()
        more = self._take(self._followed.experiment)
        self._ended = time.monotonic()
        self._took = self._ended - began
        self.problem = ""
        self._offer()
        while more and self._moving:
            yield
            time.sleep(_STEP)
        if more:
            self._take_more()
        yield

    @property
    def _moving(self) -> bool:
        return time.monotonic() - self._moved < _REST

    def _offered(self) -> dict[str, tuple[Offer, bool]]:
        """Return what can be done by an id, and whether it is done already."""
        if self._followed is None:
            return {}
        experiment = self._followed.experiment
        info = experiment.model
        assert info is not None
        there = set(experiment.interventions)
        found = (
            offer
            for offer in self._offers(experiment, self._followed.answer["tokens"])
            if 0 < len(offer.acts) <= MOST_PLACES
        )
        return {offer.words: (offer, there.issuperset(act.bound(info) for act in offer.acts)) for offer in found}

    def _offer(self, change: object = None) -> None:
        self.offers = [Offered(words=words, done=done) for words, (_, done) in self._offered().items()]

    def _put(self, words: str) -> None:
        """Do on the followed Playground's stack what was offered."""
        offer, done = self._offered().get(words, (None, False))
        if offer is None or self._followed is None:
            raise LookupError(f"got {words[:80]!r}, which can no longer be done here: pick a place, and choose again.")
        for act in () if done else offer.acts:
            self._followed.add(act, offer.name)


def require_both(follow: object | None, ask: object | None, reads: str) -> None:
    """Raise TypeError where only one is given of whom to follow and what reads its experiment."""
    if (follow is None) != (ask is None):
        raise TypeError(f"got only one of follow= and ask=; wanted both: whom to follow, and what {reads}.")


def where(tokens: Sequence[int], texts: Sequence[str]) -> str:
    """Return which tokens are meant, in words: ``“·France”``, ``tokens 2, 3``, ``all tokens`` where none is named."""
    if not tokens:
        return "all tokens"
    if len(tokens) > 1:
        return f"tokens {', '.join(map(str, tokens[:6]))}{'…' if len(tokens) > 6 else ''}"
    # a page shows the spaces of a token alone, not those within a sentence
    return f"“{texts[tokens[0]][:30].replace(' ', '·')}”"


def listed(names: Sequence[object]) -> str:
    """Return some names, and how many more there are."""
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[: 2 if more else 3])) + more


def ablated(sites: Sequence[str], tokens: Sequence[int], texts: Sequence[str]) -> Offer:
    """Return the offer to ablate some places at some tokens, at all where none is named."""
    acts = [Ablate(site, tokens=tokens or slice(None)) for site in sites]
    return Offer(f"Ablate {listed(sites)} at {where(tokens, texts)}", acts)
