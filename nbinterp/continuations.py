"""What a model went on to say, untouched and changed, token by token."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Vocabulary
    from nbinterp.sites import Site


@dataclass(frozen=True)
class Token:
    """One generated token, as it comes.

    Parameters
    ----------
    prompt : int
        Which prompt it continues.
    changed : bool
        With the interventions, or without them.
    step : int
        Which generated token, counted from 0.
    id : int
        Its id.
    text : str
        Its text.
    probability : float
        Of it, before temperature and filters.
    experiment : int
        Which experiment it belongs to, where several were asked at once.
    top : tuple of (str, float)
        The likeliest tokens at this step and their probabilities, before temperature and filters, as many as were asked for.
    """

    prompt: int
    changed: bool
    step: int
    id: int
    text: str
    probability: float
    experiment: int = 0
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Spoken:
    """What came after one prompt.

    Parameters
    ----------
    ids : tuple of int, ``[n_steps]``
        Generated tokens.
    text : str
        What they say, without special tokens.
    probabilities : tuple of float, ``[n_steps]``
        Of each token when it was chosen, before temperature and filters.
    activations : mapping of Site to sequence of arrays, ``[n_steps]``
        What was read at the token from which each one was predicted: the prompt's last one for step 0, then the generated
        token before. Each ``[n_features]``; of heads ``[n_heads, d_head]``; of the pattern ``[n_heads, n_key]``.
    top : tuple of tuple of (str, float), ``[n_steps]``
        The likeliest tokens at each step and their probabilities, before temperature and filters, as many as were asked for.
    """

    ids: tuple[int, ...]
    text: str
    probabilities: tuple[float, ...]
    activations: Mapping[Site, tuple[NDArray[np.float32], ...]] = field(repr=False, compare=False)
    top: tuple[tuple[tuple[str, float], ...], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Continuation:
    """What a model went on to say, untouched and under an experiment's interventions.

    Parameters
    ----------
    experiment : Experiment
        What was run, bound to its model, with its settings of generation.
    prompts : tuple of TokenizedPrompt, ``[n_prompts]``
        The prompts as the model saw them.
    base, changed : tuple of Spoken, ``[n_prompts]``
        What came after each prompt, without and with the interventions.
    finished : bool
        False where it was stopped before the end.
    vocabulary : Vocabulary
        Texts of the tokens.
    """

    experiment: Experiment
    prompts: tuple[TokenizedPrompt, ...]
    base: tuple[Spoken, ...]
    changed: tuple[Spoken, ...]
    finished: bool
    vocabulary: Vocabulary = field(repr=False)

    @property
    def model(self) -> ModelInfo:
        """The model that was run."""
        assert self.experiment.model is not None
        return self.experiment.model

    @property
    def texts(self) -> tuple[str, ...]:
        """What came after each prompt with the interventions."""
        return tuple(spoken.text for spoken in self.changed)

    @property
    def base_texts(self) -> tuple[str, ...]:
        """What came after each prompt without them."""
        return tuple(spoken.text for spoken in self.base)

    def diverges(self, prompt: int = 0) -> int | None:
        """Return the first step at which the two say different tokens; None where they never do."""
        base, changed = self.base[prompt].ids, self.changed[prompt].ids
        steps = [step for step, (a, b) in enumerate(zip(base, changed, strict=False)) if a != b]
        if steps:
            return steps[0]
        return None if len(base) == len(changed) else min(len(base), len(changed))

    def frame(self) -> pd.DataFrame:
        """Return the tokens side by side.

        Returns
        -------
        DataFrame
            One line a prompt and step: ``prompt`` (its index), ``step``, ``base``, ``changed`` (texts of the tokens),
            ``base_probability``, ``changed_probability``. A text that ended earlier has missing values.
        """
        lines = []
        for prompt, (base, changed) in enumerate(zip(self.base, self.changed, strict=True)):
            for step in range(max(len(base), len(changed))):
                row: dict[str, object] = {"prompt": prompt, "step": step}
                for name, spoken in (("base", base), ("changed", changed)):
                    here = step < len(spoken)
                    row[name] = self.vocabulary.tokens[spoken.ids[step]] if here else None
                    row[f"{name}_probability"] = spoken.probabilities[step] if here else float("nan")
                lines.append(row)
        columns = ["prompt", "step", "base", "changed", "base_probability", "changed_probability"]
        import pandas as pd  # a server that speaks has no need of it

        return pd.DataFrame(lines, columns=columns)

    def __repr__(self) -> str:
        lines = [f"Continuation on {self.model}" + ("" if self.finished else " (stopped)")]
        for prompt, base, changed in zip(self.prompts, self.base_texts, self.texts, strict=True):
            lines += [f"  {prompt.text!r}", f"    base:    {base!r}", f"    changed: {changed!r}"]
        return "\n".join(lines[:10] + ([f"  … {len(self.prompts) - 3} more prompts"] if len(lines) > 10 else []))

    def _repr_html_(self) -> str:
        texts = zip((p.text for p in self.prompts), self.base_texts, self.texts, strict=True)
        cell = '<td style="text-align:left;white-space:pre-wrap">'
        rows = "".join(f"<tr>{''.join(f'{cell}{html.escape(text)}</td>' for text in row)}</tr>" for row in texts)
        head = "<tr><th>prompt</th><th>base</th><th>changed</th></tr>"
        return f"<p>{html.escape(repr(self).splitlines()[0])}</p><table>{head}{rows}</table>"
