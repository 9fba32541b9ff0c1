"""Path patching: what one head says to another, and nobody else hears."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import pandas as pd
import xarray as xr

from nbinterp.experiment import Experiment
from nbinterp.interventions import Patch
from nbinterp.methods.behaviour import Behaviour, Explained, Gate, check_gate, measured
from nbinterp.methods.grids import largest
from nbinterp.pairs import AlignedPair, Metrics, against, align, described, pairs_of
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model

Mlps: TypeAlias = Literal["recomputed", "frozen"]
"""Whether MLPs between sender and receiver pass on what they hear, or say what they say untouched."""

Sites: TypeAlias = "str | Site | Sequence[str | Site]"
"""One site or several."""

_RECEIVE = ("q", "k", "v", "resid_pre", "resid_mid", "resid_post")
_SEND = ("z", "attn_out", "mlp_out")
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Paths(Explained):
    """A metric while one sender speaks to the receivers as it does in the other prompt, and to nobody else.

    Parameters
    ----------
    values : DataArray, ``[pair, sender]``
        The metric, by the sender's site.
    behaviour : Behaviour
        The metric of the clean and of the corrupted prompts, untouched.
    receivers : tuple of Site
        Who hears it.
    mlps : {"recomputed", "frozen"}
        Whether paths through MLPs count too.
    """

    values: xr.DataArray
    behaviour: Behaviour
    receivers: tuple[Site, ...]
    mlps: Mlps

    @property
    def effects(self) -> xr.DataArray:
        """How far each path takes the clean prompts' metric to the corrupted ones': 0 not at all, 1 the whole way. ``[sender]``.

        Raises
        ------
        ValueError
            When the metric does not tell clean from corrupted.
        """
        return (1 - self.behaviour.normalized(self.values.mean("pair"))).assign_attrs(units="0 = clean, 1 = corrupted")

    def frame(self) -> pd.DataFrame:
        """Return one line a sender: ``sender``, ``component``, ``layer``, ``head`` (missing where it has none), ``value``, ``effect``."""
        sites = [Site.of(str(name)) for name in self.values["sender"].to_numpy()]
        return pd.DataFrame(
            {
                "sender": [str(site) for site in sites],
                "component": [site.component for site in sites],
                "layer": [site.layer for site in sites],
                "head": pd.array([site.head for site in sites], dtype="Int64"),
                "value": self.values.mean("pair").to_numpy(),
                "effect": self.effects.to_numpy(),
            }
        )

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` with the largest effects, in either direction."""
        frame = self.frame()
        return largest(frame, frame["effect"], k)

    def chart(self) -> alt.Chart | alt.VConcatChart:
        """Return effects as heat maps, one for each component that sends: the last layer on top, heads to the right."""
        from nbinterp.charts.patching import patching_chart

        frame = self.frame()
        return patching_chart(
            frame.assign(head=frame["head"].astype(object).where(frame["head"].notna(), "all")),
            "head",
            title="what is lost",
            subtitle=f"share of {self.metric}, {self.model.name}: paths to {self._heard}, MLPs {self.mlps}",
        )

    @property
    def _heard(self) -> str:
        more = f" and {len(self.receivers) - 3} more" if len(self.receivers) > 3 else ""
        return ", ".join(map(str, self.receivers[:3])) + more

    def __repr__(self) -> str:
        head = "\n".join(
            [
                f"Paths from {self.values.sizes['sender']} senders to {self._heard} on {self.model}, MLPs {self.mlps}",
                f"  {described(self.behaviour.pairs)}",
                f"  {self.metric}: {self.clean:.3g} clean, {self.corrupted:.3g} corrupted",
            ]
        )
        try:
            frame = self.best(len(self.values["sender"]))
        except ValueError as error:
            return f"{head}\n  ! {error}"
        named = ", ".join(f"{line.sender} ({line.effect:+.2f})" for line in frame.head(_NAMED).itertuples())
        low, middle, high = frame["effect"].quantile([0.025, 0.5, 0.975])
        return "\n".join(
            [
                head,
                *(f"  ! {reason}" for reason in self.behaviour.reasons),
                f"  most is lost on the paths from {named}; a random sender does {middle:+.3f} (95 % of them {low:+.3f} to {high:+.3f})",
            ]
        )


def path_patching(
    model: Model,
    clean: object,
    corrupted: object,
    *,
    receivers: Sites,
    metric: Metrics,
    senders: Sites = "z",
    mlps: Mlps = "recomputed",
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Paths:
    """Let each sender speak to the receivers alone as it does in the corrupted prompt, everything else as in the clean one.

    For each sender the clean prompt is run with that sender's activation from the corrupted run, and every other head behind
    it held at what it says in the clean run; what the receivers then hear is put into one more clean run, in which all else
    follows freely.

    Parameters
    ----------
    model : Model
        The model.
    clean, corrupted : str, Chat, or sequence of them
        As for `activation_patching`: token over token.
    receivers : site or several
        Queries, keys or values of heads (``"q.20.3"``), or a place in the residual stream: ``"resid_post.29"``, after the last block,
        stands for what the sender says to the answer itself.
    metric : Metric, callable, or list of them
        One for all pairs, or one a pair.
    senders : site or several
        ``"z.9.6"``, or ``"z"`` for all heads that lie before a receiver; ``"mlp_out"`` and ``"attn_out"`` likewise.
    mlps : {"recomputed", "frozen"}
        Let MLPs between sender and receiver answer to what they hear, as in [1]_, so that paths through them count; or hold them
        as well, so that only the direct path does.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not show the behaviour.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    Paths

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs.

    References
    ----------
    .. [1] Wang et al., "Interpretability in the Wild", 2022, section 3.1 and appendix B. arXiv:2211.00593
    .. [2] Goldowsky-Dill et al., "Localizing Model Behavior with Path Patching", 2023. arXiv:2304.05969
    """
    check_gate(gate)
    if mlps not in ("recomputed", "frozen"):
        raise ValueError(f"got mlps={mlps!r}; wanted 'recomputed' or 'frozen'.")
    pairs = pairs_of(clean, corrupted, metric)
    aligned = [align(pair, model.tokens) for pair in pairs]
    hear = _receivers(receivers, model.info)
    say = _senders(senders, hear, model.info)
    found = measured(model, pairs, progress=progress, cancel=cancel).require(gate)
    values = []
    for pair in aligned:
        metric_of = against(pair.pair.metric, model.run(Experiment(pair.pair.clean)).logits[0])
        swept = model.sweep(
            pair.pair.clean,
            lambda sender, pair=pair: _heard(pair, Site.of(sender), hear, mlps, model.info),
            metric=metric_of,
            progress=progress,
            cancel=cancel,
            sender=[str(site) for site in say],
        )
        values.append(swept.values)
    return Paths(xr.concat(values, "pair"), found, hear, mlps)


def _heard(pair: AlignedPair, sender: Site, receivers: Sequence[Site], mlps: Mlps, info: ModelInfo) -> list[Patch]:
    """Return what puts into the clean run what receivers hear when this sender alone speaks as in the corrupted one."""
    clean, corrupted = pair.pair.clean, pair.pair.corrupted
    reach = [site for site in receivers if _before(sender, site, info)]
    last = max(info.position(site)[0] for site in reach)
    held = [Patch(sender, source=corrupted)]
    for layer in range(sender.layer or 0, last + 1):
        for component in ("attn_out", "mlp_out") if mlps == "frozen" else ("attn_out",):
            site = Site(component, layer)
            if layer > (sender.layer or 0) or _before(sender, site, info, direct=True):
                held.append(Patch(site, source=clean))
    spoken = Experiment(clean, held)
    return [Patch(site, source=spoken) for site in reach]


def _before(sender: Site, site: Site, info: ModelInfo, *, direct: bool = False) -> bool:
    """Whether a site comes after the sender and hears it; `direct`: and is not what the sender is a part of."""
    if info.position(sender) >= info.position(site):
        return False
    return not (direct and site.layer == sender.layer and (sender.component, site.component) == ("z", "attn_out"))


def _listed(sites: Sites) -> list[str | Site]:
    return [sites] if isinstance(sites, str | Site) else list(sites) if isinstance(sites, Iterable) else [sites]


def _receivers(receivers: Sites, info: ModelInfo) -> tuple[Site, ...]:
    found = tuple(Site.of(site) for site in _listed(receivers))
    for site in found:
        if site.component not in _RECEIVE:
            raise ValueError(
                f"got {str(site)!r} to receive; wanted queries, keys or values ('q.20.3'), or the residual stream ('resid_post.{info.n_layers - 1}' "
                "for the answer itself)."
            )
        info.check(site)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"got receivers={list(map(str, found))}; wanted at least one, each once.")
    return found


def _senders(senders: Sites, receivers: Sequence[Site], info: ModelInfo) -> list[Site]:
    found: list[Site] = []
    for given in _listed(senders):
        whole = str(given) in _SEND
        if whole:
            heads = range(info.heads(Site(str(given), 0))) if given == "z" else [None]
            sites = [Site(str(given), layer, head) for layer in range(info.n_layers) for head in heads]
        else:
            sites = [Site.of(given)]
        for site in sites:
            if site.component not in _SEND:
                raise ValueError(
                    f"got {str(site)!r} to send; wanted heads ('z.9.6', or 'z' for all), 'mlp_out.3' or 'attn_out.3'."
                )
            info.check(site)
            if any(_before(site, receiver, info) for receiver in receivers):
                found.append(site)
            elif not whole:
                raise ValueError(
                    f"got the sender {str(site)!r}, before which all receivers lie ({', '.join(map(str, receivers))}); wanted one that they can hear."
                )
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"got senders={list(map(str, _listed(senders)))}; wanted at least one that a receiver can hear, each once."
        )
    return found
