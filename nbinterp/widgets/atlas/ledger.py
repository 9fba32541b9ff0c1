"""What selections were made into, and every question that was asked of the cloud: each claim is corrected for all of them."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from nbinterp.widgets.atlas.background import unseen
from nbinterp.widgets.atlas.claims import Made, check, claim_messages, make, name_of, unique

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.widgets.atlas.background import Background, Progress
    from nbinterp.widgets.atlas.layouts import Rows
    from nbinterp.widgets.protocol import Claim


class Ledger:
    """The claims of an atlas, and its looks.

    Parameters
    ----------
    rows : Rows
        The cloud.
    n_components : int or None
        Principal components in which a loop without labels is looked for.
    background : Background
        Where what a page asks for is made.
    on_change : callable
        Told when there are other claims, or more looks.

    Attributes
    ----------
    made : tuple of Made
        The claims.
    asked : list of float, ``[look]``
        p of every question so far, those of dropped claims included; NaN where nothing was tested.
    """

    def __init__(
        self, rows: Rows, n_components: int | None, background: Background, on_change: Callable[[], object]
    ) -> None:
        self.made: tuple[Made, ...] = ()
        self.asked: list[float] = []
        self._rows = rows
        self._n_components = n_components
        self._background = background
        self._on_change = on_change

    def look(self, p: float) -> None:
        """Count a question that was asked: all claims are corrected for it."""
        self.asked.append(p)
        self._on_change()

    def find(self, name: str) -> Made:
        """Return a claim by its name or id; LookupError for an unknown one."""
        for one in self.made:
            if name in (one.name, one.id):
                return one
        known = ", ".join(repr(one.name) for one in self.made) or "none yet"
        raise LookupError(f"got the claim {name!r}; there are {known}.")

    def make(self, kind: str, site: int, picked: NDArray[np.intp], column: str, name: str) -> Made:
        """Make a selection into a claim, test it, and wait for that; see `claims.make`."""
        check(kind, self._rows.cloud, picked, column)
        self._background.wait()
        return self._add(make(kind, self._rows, site, picked, column, self._n_components, unseen), column, name)

    def make_soon(self, kind: str, site: int, picked: NDArray[np.intp], column: str, name: str) -> None:
        """Make a selection into a claim in the background, after what is made there; what cannot be is refused now."""
        check(kind, self._rows.cloud, picked, column)

        def making(progress: Progress) -> None:
            self._add(make(kind, self._rows, site, picked, column, self._n_components, progress), column, name)

        self._background.ask(f"making a {kind} of {len(picked):,} rows", making, queue=True)

    def drop(self, claim: str | Made) -> None:
        """Forget a claim; that it was asked still counts as a look."""
        dropped = self.find(claim if isinstance(claim, str) else claim.id)
        self.made = tuple(one for one in self.made if one is not dropped)
        self._on_change()

    def messages(self, made: Sequence[Made]) -> list[Claim]:
        """Return claims as the page shows them, corrected for all looks."""
        return claim_messages(made, self.asked)

    def frame(self) -> pd.DataFrame:
        """Return a line for each claim; see `Atlas.claim_frame`."""
        columns = ["name", "kind", "site", "n_rows", "effect", "p", "p_corrected", "statement", "caveat"]
        return pd.DataFrame(self.messages(self.made), columns=columns)

    def _add(self, made: Made, column: str, name: str) -> Made:
        taken = [one.name for one in self.made]
        given = unique(name, taken) if name else name_of(made, column, taken)
        complete = replace(made, id=uuid.uuid4().hex[:8], name=given, number=len(self.asked))
        self.asked.append(made.p)
        self.made = (*self.made, complete)
        self._on_change()
        return complete
