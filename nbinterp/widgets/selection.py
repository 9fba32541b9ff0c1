"""What is picked: rows, tokens, layers, heads, examples; one value that any number of widgets can share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import traitlets

from nbinterp.widgets.protocol import Picked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

KINDS = ("rows", "examples", "tokens", "layers", "heads")
_MANY = ("rows", "examples")


@dataclass(frozen=True, eq=False)
class Selection:
    """What is picked, by kind; nothing by default. A change is a copy: see `with_`.

    Parameters
    ----------
    rows : array of int, ``[n_picked]``
        Rows of a cloud or table, each once and in order.
    examples : array of int, ``[n_picked]``
        Prompts of a data set, likewise.
    tokens, layers : tuple of int
        Positions in a prompt; layers of a model.
    heads : tuple of (layer, head)
        Attention heads.

    Raises
    ------
    ValueError
        For a negative or fractional index.

    Examples
    --------
    >>> Selection(rows=[3, 1, 1]).rows.tolist()
    [1, 3]
    >>> bool(Selection()), bool(Selection(layers=[0]))
    (False, True)
    """

    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    examples: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    tokens: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()
    heads: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for kind in _MANY:
            object.__setattr__(self, kind, _rows(getattr(self, kind), kind))
        for kind in ("tokens", "layers"):
            object.__setattr__(self, kind, tuple(_rows(getattr(self, kind), kind).tolist()))
        pairs = {(int(layer), int(head)) for layer, head in self.heads}
        object.__setattr__(self, "heads", tuple(sorted(pairs)))

    def with_(self, **kinds: ArrayLike | Sequence[tuple[int, int]]) -> Self:
        """Return a copy in which these kinds are replaced.

        Examples
        --------
        >>> Selection(rows=[4]).with_(tokens=[2]).rows.tolist()
        [4]
        """
        return replace(self, **kinds)  # type: ignore[arg-type]

    def mask(self, n: int, kind: str = "rows") -> NDArray[np.bool_]:
        """Return which of `n` rows, or examples, are picked: ``[n]``."""
        mask = np.zeros(n, dtype=bool)
        picked = getattr(self, kind)
        mask[picked[picked < n]] = True
        return mask

    def __bool__(self) -> bool:
        return any(len(getattr(self, kind)) > 0 for kind in KINDS)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return all(np.array_equal(getattr(self, kind), getattr(other, kind)) for kind in KINDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = [f"{len(getattr(self, kind)):,} {kind}" for kind in KINDS if len(getattr(self, kind))]
        return f"Selection({', '.join(counts) or 'nothing'})"


class SelectionTrait(traitlets.TraitType[Selection, Any]):
    """A trait that holds a `Selection`; a mapping of kinds may be assigned to it."""

    info_text = "a Selection, or a mapping such as {'rows': [0, 4]}"

    def __init__(self) -> None:
        super().__init__(default_value=Selection(), allow_none=False)
        self.tag(sync=True, to_json=to_page, from_json=from_page)

    def validate(self, obj: Any, value: Any) -> Selection:
        """Return the selection that was meant; TraitError for what is none."""
        if isinstance(value, Selection):
            return value
        if isinstance(value, Mapping) and set(value) <= set(KINDS):
            try:
                return Selection(**value)
            except (TypeError, ValueError) as error:
                raise traitlets.TraitError(str(error)) from None
        self.error(obj, value)


def to_page(selection: Selection, widget: object = None) -> Picked:
    """Return a selection as it goes to the page, rows as bits."""
    return Picked(
        rows=_bits(selection.rows),
        examples=_bits(selection.examples),
        tokens=list(selection.tokens),
        layers=list(selection.layers),
        heads=[list(pair) for pair in selection.heads],
    )


def from_page(picked: Picked, widget: object = None) -> Selection:
    """Return the selection that a page sent."""
    return Selection(
        rows=_indices(picked["rows"]),
        examples=_indices(picked["examples"]),
        tokens=tuple(picked["tokens"]),
        layers=tuple(picked["layers"]),
        heads=tuple((layer, head) for layer, head in picked["heads"]),
    )


class Selecting(Protocol):
    """A widget that shares what is picked in it."""

    selection: Any

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many rows, tokens… there are, of the kinds that can be picked or shown here."""

    def observe(self, handler: Any, names: Any = ...) -> None:
        """Call `handler` when a trait changes."""

    def unobserve(self, handler: Any, names: Any = ...) -> None:
        """Call it no more."""


class Link:
    """Widgets that share one selection; `unlink` parts them. Made by `link`."""

    def __init__(self, widgets: Sequence[Selecting]) -> None:
        self._widgets = tuple(widgets)
        start = next((w.selection for w in widgets if w.selection), widgets[0].selection)
        for widget in self._widgets:
            widget.selection = start
            widget.observe(self._spread, names="selection")

    def _spread(self, change: Any) -> None:
        for widget in self._widgets:
            widget.selection = change["new"]

    def unlink(self) -> None:
        """Let each widget have its own selection again; what is picked stays."""
        for widget in self._widgets:
            widget.unobserve(self._spread, names="selection")
        self._widgets = ()

    def __repr__(self) -> str:
        return f"Link({', '.join(type(w).__name__ for w in self._widgets) or 'unlinked'})"


def link(*widgets: Selecting) -> Link:
    """Let widgets share one selection: what is picked in one is picked in all.

    Where something is picked already, the first widget's selection goes to all.

    Parameters
    ----------
    *widgets
        Two or more of nbinterp's widgets.

    Returns
    -------
    Link
        Its `unlink` parts them.

    Raises
    ------
    TypeError
        For what has no selection.
    ValueError
        For less than two widgets, and for widgets of different things: rows of different clouds, say.
    """
    if len(widgets) < 2:
        raise ValueError(f"got {len(widgets)} widgets to link; wanted two or more.")
    for widget in widgets:
        if not hasattr(widget, "selectable"):
            raise TypeError(
                f"got {type(widget).__name__} to link; wanted widgets that share a selection, such as nb.Atlas(…) or nb.Playground(…)."
            )
    for kind in ("rows", "examples"):
        sizes = {w.selectable[kind]: type(w).__name__ for w in widgets if kind in w.selectable}
        if len(sizes) > 1:
            listed = " and ".join(f"{name} has {n:,}" for n, name in sizes.items())
            raise ValueError(
                f"got widgets with different numbers of {kind} ({listed}); wanted views of the same {kind}."
            )
    return Link(widgets)


def _rows(values: ArrayLike, kind: str) -> NDArray[np.intp]:
    given = np.atleast_1d(np.asarray(values)).ravel()
    if given.dtype == bool:
        given = np.flatnonzero(given)
    rows = given.astype(np.intp)
    if not np.array_equal(rows, given) or (len(rows) and rows.min() < 0):
        raise ValueError(f"got {kind} {given[:5].tolist()}…; wanted indices, whole numbers from 0 up.")
    # what a page sends is in order already, and sorting half a million rows again would take longer than the brush
    ordered = bool(np.all(rows[1:] > rows[:-1]))
    unique: NDArray[np.intp] = rows.copy() if ordered else np.unique(rows)
    unique.setflags(write=False)
    return unique


def _bits(rows: NDArray[np.intp]) -> bytes:
    if not len(rows):
        return b""
    mask = np.zeros(int(rows[-1]) + 1, dtype=np.uint8)
    mask[rows] = 1
    return np.packbits(mask, bitorder="little").tobytes()


def _indices(bits: Any) -> NDArray[np.intp]:
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little").view(bool))
