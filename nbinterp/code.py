"""An experiment as plain nnsight: a script that needs neither nbinterp nor what nbinterp's installation brought."""

from __future__ import annotations

import inspect
import os
import textwrap
from typing import TYPE_CHECKING, cast

from nbinterp.interventions import Cut, Patch
from nbinterp.script import Script, is_experiment
from nbinterp.snippets import IMPORTS, SNIPPETS
from nbinterp.tokens import Chosen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.operations import Intervention
    from nbinterp.tokens import TokenSelection


def nnsight_code(experiment: Experiment, *, opening: bool = True) -> str:
    """Return the script; see `nbinterp.experiment.Experiment.to_code`.

    When it has run, ``logits`` is a list of ``[n_vocab]``, one a prompt, at its last token; ``activations``, where something
    is read, a list of dictionaries from a site's text to its tensor at the prompt's tokens; ``generated``, where
    something is generated, a list of lists of token ids.

    Parameters
    ----------
    experiment : Experiment
        Bound to a model whose anatomy is known.
    opening : bool
        Whether the script opens the model itself and shows what came of it; else it expects an nnsight ``model``.

    Raises
    ------
    TypeError
        When a function chooses the tokens of an intervention: it cannot be written down.
    """
    assert experiment.model is not None
    _refuse_functions(experiment)
    script = Script(experiment.model)
    body = script.whole(experiment, shown=opening)
    start = _opening(experiment.model) if opening else ""
    if "os.path" in start:
        script.needs.add("os")
    # a chat's way to tokens serves texts too
    script.needs -= {"tokenized"} if "tokenized chat" in script.needs else set()
    return "\n".join(
        [
            *_head(experiment, script),
            start,
            f"blocks = model.{experiment.model.blocks}",
            "parameter = next(model._module.parameters())",
            *(f"\n{text.rstrip()}" for name, text in SNIPPETS.items() if name in script.needs),
            *(f"\n\n{inspect.getsource(function).rstrip()}" for function in script.functions),
            *(["\n", *(f"{name} = {value}" for value, name in script.constants.items())] if script.constants else []),
            *(["\n"] if script.functions and not script.constants else [""]),
            *body,
            "",
        ]
    )


def _head(experiment: Experiment, script: Script) -> list[str]:
    lines = [
        f"# Experiment {experiment.fingerprint} on {str(experiment.model)!r}, as plain nnsight; written by nbinterp",
        "",
    ]
    if script.functions:
        lines.append("# the functions below carry annotations that name types which this script does not import")
        lines += ["from __future__ import annotations", ""]
    imports = {line for need in script.needs for line in IMPORTS.get(need, ())}
    outside = {"import numpy as np", "from transformers import DynamicCache"}
    if imports - outside:
        lines += [*sorted(imports - outside), ""]
    outside &= imports
    outside |= {"import torch", "from nnsight import TransformersModel"}
    # plain imports before those of single names
    return [*lines, *sorted(outside, key=lambda line: (line.startswith("from"), line))]


def _refuse_functions(experiment: Experiment) -> None:
    for act in experiment.interventions:
        if any(isinstance(selection, Chosen) for selection in _selections(act)):
            raise TypeError(
                f"got {act._name} at {act.site} whose tokens a function chooses, which cannot be written as code; "
                "choose them by index, slice, text, regex or role instead."
            )
        if isinstance(act, Patch) and is_experiment(act.source):
            _refuse_functions(cast("Experiment", act.source))


def _selections(act: Intervention) -> Iterable[TokenSelection]:
    if isinstance(act, Cut):
        return (act.tokens, act.keys)
    return (act.tokens, act.source_tokens) if isinstance(act, Patch) and act.source_tokens else (act.tokens,)


def _opening(model: ModelInfo) -> str:
    if not model.source:
        return textwrap.dedent(
            """
            # The model was handed to nbinterp as a module: put yours, and its tokenizer, here.
            model = TransformersModel(module, tokenizer=tokenizer, task="text-generation")"""
        )
    if model.source.endswith(".gguf"):
        return textwrap.dedent(
            f"""
            from transformers import AutoModelForCausalLM, AutoTokenizer

            folder, name = os.path.split({_place(model.source)})
            module = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.{model.dtype})
            model = TransformersModel(module, tokenizer=AutoTokenizer.from_pretrained(folder, gguf_file=name), task="text-generation")"""
        )
    pinned = "" if os.path.isabs(model.source) else f", revision={model.revision!r}"
    return (
        f"\nplace = {_place(model.source)}\n"
        f'model = TransformersModel(place, task="text-generation", dtype=torch.{model.dtype}{pinned}, dispatch=True)'
    )


def _place(source: str) -> str:
    """Return an expression for a path or hub id, without the name of the user whose home it lies in."""
    home = os.path.expanduser("~") + os.sep
    return f"os.path.expanduser({'~' + os.sep + source[len(home) :]!r})" if source.startswith(home) else repr(source)
