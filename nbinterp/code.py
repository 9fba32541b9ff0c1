"""An experiment as plain nnsight: a script that needs neither nbinterp nor what nbinterp's installation brought."""

from __future__ import annotations

import base64
import inspect
import os
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.interventions import Intervention, Patch
from nbinterp.tokens import Match, Positions, Span, TokenSelection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

_HEAD = """# Experiment {fingerprint} on {model!r}, as plain nnsight; written by nbinterp

# the functions below carry annotations that name types which this script does not import
from __future__ import annotations

import base64
import os

import numpy as np
import torch
from nnsight import TransformersModel
"""

_ARRAY = """
def array(text, *shape):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f8").reshape(shape).astype(np.float32)).to(parameter)
"""

_MATCH = '''
def match(prompt, text, nth=1):
    """The tokens of the prompt that hold the nth occurrence of the text."""
    start = -1
    for _ in range(nth):
        start = prompt.index(text, start + 1)
    stop = start + len(text)
    start += len(text) - len(text.lstrip())
    spans = model.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    return [i for i, (a, b) in enumerate(spans) if a < stop and b > start]
'''


def nnsight_code(
    prompts: Sequence[str],
    interventions: Sequence[Intervention],
    read: Sequence[Site],
    model: ModelInfo,
    fingerprint: str,
) -> str:
    """Return the script; see `nbinterp.experiment.Experiment.to_code`."""
    # Python's sort is stable: at one site the order of writing stays
    acts = sorted(interventions, key=lambda act: act.site.layer)
    operations = [act.operation() for act in acts]
    parts = [_HEAD.format(fingerprint=fingerprint, model=str(model)), _opening(model)]
    if any(operation.arrays for operation in operations):
        parts.append(_ARRAY)
    if any(isinstance(t, Match) and _is_text(t) for act in acts for t in _selections(act)):
        parts.append(_MATCH)
    functions = dict.fromkeys(operation.function for operation in operations)
    parts += ["\n" + inspect.getsource(function) for function in functions]
    parts.append(_constants([operation.arrays for operation in operations]))
    parts.append(_loop(prompts, acts, read, model))
    return "\n".join(parts)


def _opening(model: ModelInfo) -> str:
    if not model.source:
        opening = textwrap.dedent(
            """
            # The model was handed to nbinterp as a module: put yours, and its tokenizer, here.
            model = TransformersModel(module, tokenizer=tokenizer, task="text-generation")
            """
        )
    elif model.source.endswith(".gguf"):
        opening = textwrap.dedent(
            f"""
            from transformers import AutoModelForCausalLM, AutoTokenizer

            folder, name = os.path.split({_place(model.source)})
            module = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.{model.dtype})
            model = TransformersModel(module, tokenizer=AutoTokenizer.from_pretrained(folder, gguf_file=name), task="text-generation")
            """
        )
    else:
        pinned = "" if os.path.isabs(model.source) else f", revision={model.revision!r}"
        opening = (
            f"\nplace = {_place(model.source)}\n"
            f'model = TransformersModel(place, task="text-generation", dtype=torch.{model.dtype}{pinned}, dispatch=True)\n'
        )
    return opening + f"blocks = model.{model.blocks}\nparameter = next(model._module.parameters())\n"


def _place(source: str) -> str:
    """Return an expression for a path or hub id, without the name of the user whose home it lies in."""
    home = os.path.expanduser("~") + os.sep
    return f"os.path.expanduser({'~' + os.sep + source[len(home) :]!r})" if source.startswith(home) else repr(source)


def _constants(arguments: Sequence[object]) -> str:
    lines = []
    for number, arrays in enumerate(arguments):
        assert isinstance(arrays, dict)
        for name, array in arrays.items():
            lines.append(f"{name}_{number} = {_literal(array)}")
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _literal(array: Floats) -> str:
    text = base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()
    return f'array("{text}", {", ".join(map(str, array.shape))})'


def _selections(act: Intervention) -> list[TokenSelection]:
    return [act.tokens, *([act.source_tokens] if isinstance(act, Patch) and act.source_tokens else [])]


def _is_text(selection: Match) -> bool:
    return selection.nth is not None or selection.text not in ("last", "all")


def _positions(selection: TokenSelection, prompt: str) -> str:
    match selection:
        case Positions(indices):
            return repr(list(indices))
        case Span(start, stop, step):
            return f"slice({start}, {stop}, {step})"
        case Match(text, nth) if _is_text(selection):
            return f"match({prompt}, {text!r}{'' if nth in (None, 1) else f', nth={nth}'})"
        case Match("last", _):
            return "[-1]"
        case _:
            return "slice(None)"


def _loop(prompts: Sequence[str], acts: Sequence[Intervention], read: Sequence[Site], model: ModelInfo) -> str:
    lines = [f"prompts = {list(prompts)!r}", "logits = []  # one [n_vocab] a prompt, at its last token"]
    if read:
        lines.append("activations = []  # one {site: [n_tokens, d_model]} a prompt")
    lines += ["", "for prompt in prompts:"]
    body: list[str] = []
    traced: list[tuple[int, str]] = []
    for number, act in enumerate(acts):
        at = _positions(act.tokens, "prompt")
        operation = act.operation()
        arguments = [f"{name}={name}_{number}" for name in operation.arrays]
        arguments += [f"{name}={value!r}" for name, value in operation.numbers.items()]
        if isinstance(act, Patch):
            body.append(f"source = {act.source!r}")
            chosen = _positions(act.source_tokens or act.tokens, "source")
            body.append("with torch.no_grad(), model.trace(source):")
            body.append(f"    value_{number} = blocks[{act.site.layer}].output[:, {chosen}].clone().save()")
            arguments.append(f"value=value_{number}")
        body.append(f"at_{number} = {at}")
        x = f"blocks[{act.site.layer}].output[:, at_{number}]"
        traced.append((act.site.layer, f"{x} = {operation.function.__name__}({', '.join([x, *arguments])})"))
    traced += [(site.layer, f"read_{site.layer} = blocks[{site.layer}].output[0].clone().save()") for site in read]
    body.append("with torch.no_grad(), model.trace(prompt):")
    body += [f"    {line}" for _, line in sorted(traced, key=lambda pair: pair[0])]
    body.append("    last = model.output.logits[0, -1].clone().save()")
    body.append("logits.append(last)")
    if read:
        body.append("activations.append({" + ", ".join(f"{str(site)!r}: read_{site.layer}" for site in read) + "})")
    lines += [f"    {line}" for line in body]
    lines += [
        "",
        "for prompt, last in zip(prompts, logits):",
        "    probabilities, ids = last.softmax(-1).topk(5)",
        "    print(repr(prompt), [(model.tokenizer.decode([i]), round(p, 4)) for i, p in zip(ids.tolist(), probabilities.tolist())])",
    ]
    return "\n" + "\n".join(lines) + "\n"
