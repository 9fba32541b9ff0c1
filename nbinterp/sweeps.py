"""Sweeps: one metric over a grid of experiments, from the grid's planning to the labelled result."""

from __future__ import annotations

import html
import inspect
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from nbinterp.experiment import Experiment
from nbinterp.operations import Intervention
from nbinterp.sites import Site

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.metrics import Metric

Make: TypeAlias = "Callable[..., Intervention | Iterable[Intervention] | Experiment]"
"""What is done at a point of the grid: a function of one value of each axis, given by name."""

RESERVED = ("metric", "progress", "cancel")
"""Names that `Model.sweep` takes itself, so that no axis can have them."""

_COLUMNS = ("base", "difference", "control")
_MAX_TEXT = 120


class Grid(NamedTuple):
    """The experiments of a sweep.

    Parameters
    ----------
    experiments : tuple of Experiment, ``[n_points]``
        One a point, the last axis running fastest.
    dims : tuple of str, ``[n_axes]``
        Names of the axes.
    coords : dict of str to array, each ``[length of that axis]``
        What the points of each axis are called.
    shape : tuple of int, ``[n_axes]``
        Lengths of the axes.
    """

    experiments: tuple[Experiment, ...]
    dims: tuple[str, ...]
    coords: dict[str, NDArray[Any]]
    shape: tuple[int, ...]


def grid(experiment: Experiment, make: Make, axes: Mapping[str, Iterable[Any]]) -> Grid:
    """Return the experiments of a sweep: every combination of the axes' values.

    Parameters
    ----------
    experiment : Experiment
        What every point starts from; with one prompt.
    make : callable
        Given one value of each axis by name, returns what is added: an intervention, several of them, or the whole
        experiment of that point, on the same prompt.
    axes : mapping of str to iterable
        Values by the name of a parameter of `make`. Numbers, texts and sites are their own labels; a mapping gives
        labels to other values; without it those are numbered.

    Raises
    ------
    ValueError, TypeError
        For no axis or an empty one, values twice on one axis, a name that `make` does not take or that is taken, more or
        less than one prompt, and for what `make` should not return.
    """
    if len(experiment.prompts) != 1:
        raise ValueError(
            f"got an experiment with {len(experiment.prompts)} prompts to sweep; wanted one: sweep each prompt on its own."
        )
    if not axes:
        raise ValueError("got no axis to sweep; wanted at least one, for example layer=range(12).")
    _check_names(make, tuple(axes))
    listed = {name: _axis(name, values) for name, values in axes.items()}
    points = itertools.product(*(zip(values, labels, strict=True) for values, labels in listed.values()))
    experiments = tuple(_experiment(experiment, make, dict(zip(listed, point, strict=True))) for point in points)
    coords = {name: labels for name, (_, labels) in listed.items()}
    return Grid(experiments, tuple(listed), coords, tuple(len(labels) for labels in coords.values()))


@dataclass(frozen=True, eq=False)
class Sweep:
    """A metric over a grid of experiments.

    Parameters
    ----------
    values : DataArray, ``[*axes]``
        The metric at each point, with the axes' names and values.
    base : float
        The metric of the untouched model.
    metric : Metric
        What was measured.
    unit : str
        Unit of `values` and `base`.
    experiment : Experiment
        What every point started from.
    model : ModelInfo
        The model that was run.
    control : DataArray, ``[*axes]``, optional
        The metric where the same was done with something that should have no effect.
    """

    values: xr.DataArray
    base: float
    metric: Metric
    unit: str
    experiment: Experiment
    model: ModelInfo
    control: xr.DataArray | None = None

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        grid: Grid,
        *,
        base: float,
        metric: Metric,
        experiment: Experiment,
        model: ModelInfo,
        control: ArrayLike | None = None,
    ) -> Sweep:
        """Return the sweep of a grid.

        Parameters
        ----------
        values, control : array, ``[n_points]``
            The metric of each of the grid's experiments, in their order.
        grid : Grid
            What was run.
        base, metric, experiment, model
            As in `Sweep`.
        """

        def labelled(flat: ArrayLike) -> xr.DataArray:
            data = np.array(flat, dtype=np.float64).reshape(grid.shape)
            data.flags.writeable = False
            return xr.DataArray(data, grid.coords, grid.dims, metric.name, {"units": metric.unit})

        return cls(
            labelled(values),
            float(base),
            metric,
            metric.unit,
            experiment,
            model,
            None if control is None else labelled(control),
        )

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(map(str, self.values.dims))

    @property
    def column(self) -> str:
        """The metric's column in `frame`: its name, or ``"value"`` where an axis or another column has that name."""
        return "value" if self.metric.name in (*self.axes, *_COLUMNS) else self.metric.name

    def frame(self) -> pd.DataFrame:
        """Return one line a point, the last axis running fastest.

        Returns
        -------
        DataFrame
            A column for each axis, then the metric's (see `column`), ``base``, ``difference`` (from the untouched model),
            and ``control`` where there is one.
        """
        places = np.indices(self.values.shape).reshape(len(self.axes), -1)
        flat = self.values.to_numpy().ravel()
        columns = {name: self.values[name].to_numpy()[place] for name, place in zip(self.axes, places, strict=True)} | {
            self.column: flat,
            "base": self.base,
            "difference": flat - self.base,
        }
        if self.control is not None:
            columns["control"] = self.control.to_numpy().ravel()
        return pd.DataFrame(columns)

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` that differ most from the untouched model, in either direction."""
        frame = self.frame()
        order = np.argsort(-np.abs(frame["difference"].to_numpy()), kind="stable")
        return frame.iloc[order[: max(k, 0)]].reset_index(drop=True)

    def normalized(self, *, clean: float, corrupted: float) -> Sweep:
        """Return the sweep on the scale where 0 is the metric of the corrupted prompt and 1 that of the clean one.

        Parameters
        ----------
        clean, corrupted : float
            The metric of the two prompts, untouched.

        Raises
        ------
        ValueError
            When the two do not differ, or are not finite.

        References
        ----------
        .. [1] Zhang & Nanda, "Towards Best Practices of Activation Patching in Language Models", 2023, section 2.
           arXiv:2309.16042
        """
        span = clean - corrupted
        if not math.isfinite(span) or span == 0:
            raise ValueError(
                f"got clean={clean:g} and corrupted={corrupted:g}; wanted two finite numbers that differ: choose prompts "
                f"that {self.metric} tells apart."
            )
        unit = "0 = corrupted, 1 = clean"

        def scaled(values: xr.DataArray) -> xr.DataArray:
            return ((values - corrupted) / span).rename(values.name).assign_attrs(units=unit)

        return replace(
            self,
            values=scaled(self.values),
            base=(self.base - corrupted) / span,
            unit=unit,
            control=None if self.control is None else scaled(self.control),
        )

    def chart(self) -> alt.LayerChart | alt.Chart:
        """Return a line over one axis, or a heat map over two: the first runs down, the second to the right.

        Raises
        ------
        ValueError
            For more axes.
        """
        # altair is slow to load, and a sweep need not be drawn
        from nbinterp.charts.sweeps import grid_chart, response_chart

        if len(self.axes) > 2:
            raise ValueError(
                f"got a sweep over {len(self.axes)} axes ({', '.join(self.axes)}) to draw; wanted one or two: sweep fewer, "
                "or draw a part of sweep.frame() yourself."
            )
        text: dict[str, Any] = {
            "unit": self.unit,
            "title": str(self.metric),
            "subtitle": f"{self.model.name}: {self._prompt}",
        }
        if len(self.axes) == 1:
            return response_chart(self.frame(), self.axes[0], self.column, base=self.base, **text)
        down, right = self.axes
        return grid_chart(self.frame(), down, right, self.column, base=self.base, **text)

    @property
    def _prompt(self) -> str:
        text = repr(self.experiment.prompts[0])
        return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"

    def __repr__(self) -> str:
        points = " × ".join(f"{n} {name}" for name, n in zip(self.axes, self.values.shape, strict=True))
        unit = f" ({self.unit})" if self.unit else ""
        lines = [
            f"Sweep of {self.metric}{unit} over {points} on {self.model}",
            f"  {self._prompt}: {self.base:.4g} untouched",
        ]
        known = self.best(1).dropna(subset="difference")
        for _, most in known.iterrows():
            where = ", ".join(f"{name}={most[name]}" for name in self.axes)
            lines.append(f"  largest change: {most['difference']:+.4g}, to {most[self.column]:.4g}, at {where}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line.strip()) for line in repr(self).splitlines())
        table = self.best(8).style.format(precision=4, escape="html").format_index(escape="html", axis=1)
        return f"<p>{lines}</p>{table.hide(axis='index').to_html()}"


def _check_names(make: Make, names: tuple[str, ...]) -> None:
    if not callable(make):
        raise TypeError(
            f"got make={make!r}; wanted a function of the axes' values that returns an intervention, for example "
            "lambda layer: nb.Ablate(f'resid_post.{layer}')."
        )
    taken = [name for name in names if name in (*RESERVED, *_COLUMNS)]
    if taken:
        raise ValueError(f"got an axis named {taken[0]!r}, {_why_taken(taken[0])}: rename that parameter of make.")
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # some functions written in C say nothing of their parameters
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    wrong = [name for name in names if name not in known]
    if wrong and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ValueError(
            f"got an axis named {wrong[0]!r}, which is no parameter of make; it takes {', '.join(known) or 'nothing'}."
        )
    missing = [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in names]
    if missing and missing[0] in RESERVED:
        raise ValueError(
            f"got a function make with the parameter {missing[0]!r}, {_why_taken(missing[0])}: rename that parameter."
        )
    if missing:
        raise ValueError(f"got no axis for the parameter {missing[0]!r} of make; add {missing[0]}=[…].")


def _why_taken(name: str) -> str:
    return "which Model.sweep takes itself" if name in RESERVED else "which is a column of every sweep's table"


def _axis(name: str, values: Iterable[Any]) -> tuple[list[Any], NDArray[Any]]:
    """Return an axis's values, and what each is called."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"got the axis {name}={values!r}; wanted several values, for example {name}=[{values!r}].")
    chosen = [_plain(v) for v in (values.values() if isinstance(values, Mapping) else values)]
    if not chosen:
        raise ValueError(f"got no value for the axis {name!r}; wanted at least one.")
    labels = [_plain(v) for v in values] if isinstance(values, Mapping) else chosen
    labels = [str(label) if isinstance(label, Site) else label for label in labels]
    if not all(isinstance(label, str | bool | int | float) for label in labels):
        return chosen, np.arange(len(chosen))
    twice = [label for label, n in Counter(labels).items() if n > 1]
    if twice:
        raise ValueError(f"got the value {twice[0]!r} twice for the axis {name!r}; wanted each once.")
    # NumPy would turn the numbers among texts, and true and false among numbers, into something else
    kinds = {str if isinstance(v, str) else bool if isinstance(v, bool) else float for v in labels}
    return chosen, np.array(labels, dtype=object if len(kinds) > 1 else None)


def _plain(value: Any) -> Any:
    """Return an entry of an array as the plain number that a person would have written, and all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _experiment(experiment: Experiment, make: Make, point: dict[str, tuple[Any, Any]]) -> Experiment:
    try:
        made = make(**{name: value for name, (value, _) in point.items()})
        if isinstance(made, Experiment):
            if made.prompts != experiment.prompts:
                raise ValueError(
                    f"got an experiment on {made.prompts} from make; wanted one on {experiment.prompts}, so that all points "
                    "have the same untouched value: sweep each prompt on its own."
                )
            return made
        acts = (made,) if isinstance(made, Intervention) else tuple(made) if isinstance(made, Iterable) else (made,)
        wrong = [act for act in acts if not isinstance(act, Intervention)]
        if wrong:
            raise TypeError(
                f"got {type(wrong[0]).__name__} from make; wanted an intervention such as nb.Steer(…), a list of them, or an "
                "Experiment."
            )
        return experiment.with_(*acts)
    except Exception as error:
        error.add_note(f"at {', '.join(f'{name}={label}' for name, (_, label) in point.items())}")
        raise
