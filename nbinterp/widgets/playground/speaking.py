"""Generation, token by token: untouched, changed and under the control, side by side."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from nbinterp.widgets.protocol import Alternative, Generated, Said, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbinterp.continuations import Token
    from nbinterp.experiment import Generation
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.stack import Stack

_TOP = 5
_EVERY = 0.08  # seconds: more often than this nobody reads


def speak(setting: Setting, stack: Stack, model: Asked, generation: Generation) -> Iterator[Generated | None]:
    """Yield after each pass: what was said so far, where enough time has gone by, or None; and at the end, all of it.

    Parameters
    ----------
    setting : Setting
        What was asked.
    stack : Stack
        What is run.
    model : Asked
        Who speaks.
    generation : Generation
        How.
    """
    said = Generated(moment=setting["moment"], running=True, base=[], changed=[], control=[])
    settings = {f: getattr(generation, f) for f in ("max_new_tokens", "temperature", "top_k", "top_p", "seed", "stop")}
    going_on = stack.going_on
    experiments = [going_on.experiment, going_on.control] if stack.acting else [going_on.experiment]
    tokens = model.stream(experiments, top=_TOP, **settings)
    shown = time.perf_counter()
    for _, together in itertools.groupby(tokens, key=lambda token: token.step):
        for token in together:
            one = _said(token)
            if token.changed and token.experiment == 0:
                said["changed"].append(one)
            if not token.changed and token.experiment == 0:
                said["base"].append(one)
            if token.changed and token.experiment == len(experiments) - 1:
                said["control"].append(one)
        # a pass without news to show still gives way
        due = time.perf_counter() - shown > _EVERY
        shown = time.perf_counter() if due else shown
        yield _copy(said) if due else None
    said["running"] = False
    yield said


def frame(generated: Generated) -> pd.DataFrame:
    """Return the tokens side by side: ``step``, and text and probability of ``base``, ``changed`` and ``control``."""
    columns: dict[str, pd.Series[Any]] = {}
    for name in ("base", "changed", "control"):
        tokens: list[Said] = generated[name]
        columns[name] = pd.Series([token["text"] for token in tokens], dtype=object)
        columns[f"{name}_probability"] = pd.Series([token["probability"] for token in tokens], dtype=float)
    return pd.DataFrame(columns).rename_axis("step").reset_index()


def text(tokens: list[Said]) -> str:
    """Return what was said."""
    return "".join(token["text"] for token in tokens)


def _said(token: Token) -> Said:
    top = [Alternative(text=text, probability=_short(p)) for text, p in token.top]
    return Said(text=token.text, probability=_short(token.probability), top=top)


def _short(probability: float) -> float:
    return float(f"{probability:.5g}")


def _copy(said: Generated) -> Generated:
    return Generated(
        moment=said["moment"],
        running=said["running"],
        base=list(said["base"]),
        changed=list(said["changed"]),
        control=list(said["control"]),
    )
