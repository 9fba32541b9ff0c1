"""Parts of the scripts that `nbinterp.code` prints: small functions, and how a site's tensor is written, changed and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbinterp.sites import HEADED, Site

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo, Place

_TOKENIZED = '''
def tokenized(prompt):
    """The text that the model reads, its token ids, and the first and one-past-last character of each token."""
    encoded = model.tokenizer(prompt, return_offsets_mapping=True)
    return prompt, encoded["input_ids"], encoded["offset_mapping"]
'''
_TOKENIZED_CHAT = '''
def tokenized(prompt):
    """The text that the model reads, its token ids, and the first and one-past-last character of each token."""
    if isinstance(prompt, str):
        text = prompt
    else:
        text = model.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    # a template brings its own special tokens
    encoded = model.tokenizer(text, return_offsets_mapping=True, add_special_tokens=isinstance(prompt, str))
    return text, encoded["input_ids"], encoded["offset_mapping"]
'''
_ARRAY = '''
def array(text, *shape):
    """Numbers that were written down in base64, in the model's precision."""
    values = np.frombuffer(base64.b64decode(text), "<f8").reshape(shape)
    return torch.tensor(values, dtype=parameter.dtype, device=parameter.device)
'''
_OVERLAPPING = '''
def overlapping(text, spans, start, stop):
    """The tokens that hold some of the characters from start to stop."""
    piece = text[start:stop]
    # a leading space often belongs to the token before: it must not choose a token by itself
    start += len(piece) - len(piece.lstrip()) if piece.strip() else 0
    return [i for i, (a, b) in enumerate(spans) if a < stop and b > start]
'''
_MATCH = '''
def match(text, spans, piece, nth=1):
    """The tokens that hold the nth occurrence of a piece of the text."""
    start = -1
    for _ in range(nth):
        start = text.index(piece, start + 1)
    return overlapping(text, spans, start, start + len(piece))
'''
_SEARCH = '''
def search(text, spans, expression, nth=None):
    """The tokens that hold what a regular expression matches: all of it, or its nth match."""
    hits = [hit.span() for hit in expression.finditer(text) if hit.end() > hit.start()]
    hits = hits if nth is None else [hits[nth - 1]]
    return sorted({i for start, stop in hits for i in overlapping(text, spans, start, stop)})
'''
_SAID = '''
def said(messages, text, spans, role, nth=None):
    """The tokens of what a role says in a chat: in all its messages, or in its nth one that has tokens."""
    turns = [None] * len(spans)
    for turn, message in enumerate(messages):
        # a content may say what the template says: it begins where a mark stands that takes its place
        marked = [*messages[:turn], message | {"content": "\\ue000"}, *messages[turn + 1 :]]
        start = model.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True).index("\\ue000")
        content = message["content"]
        stop = start + len(content if text.startswith(content, start) else content.strip())
        turns = [turn if a < stop and b > start else before for (a, b), before in zip(spans, turns)]
    mine = list(dict.fromkeys(turn for turn in turns if turn is not None and messages[turn]["role"] == role))
    mine = mine if nth is None else [mine[nth - 1]]
    return [i for i, turn in enumerate(turns) if turn in mine]
'''
_RESAMPLED = '''
def resampled(pool, ids, n, seed):
    """A random token of a random entry of the pool, n times; which ones depends on the seed and the prompt."""
    random = np.random.default_rng([seed, *ids])
    chosen = [pool[i] for i in random.integers(len(pool), size=n)]
    return torch.stack([entry[int(random.integers(len(entry)))] for entry in chosen])
'''
_ONLY_ROW = '''
def only_row(value):
    """What a module takes or gives for the only prompt: [n_tokens, ...]."""
    tensor = value[0] if isinstance(value, tuple) else value
    return tensor if tensor.ndim == 2 else tensor[0]
'''
_EAGER = '''
@contextlib.contextmanager
def eager(*attentions):
    """Have attention computed step by step, and make the steps known: its faster ways make no pattern."""
    for attention in attentions:
        # nnsight rewrites a module's forward pass when its source is first asked for, and not while it runs
        attention.source
    module = model._module
    before = module.config._attn_implementation

    def switch(to):
        if module._can_set_attn_implementation():
            module.set_attn_implementation(to)
        else:
            module.config._attn_implementation = to

    switch("eager")
    try:
        yield
    finally:
        switch(before)
'''
_ENDED = """
ends = getattr(getattr(model._module, "generation_config", None), "eos_token_id", None)
ends = model.tokenizer.eos_token_id if ends is None else ends
ends = [ends] if isinstance(ends, int) else ends or []
"""

SNIPPETS = {
    "tokenized": _TOKENIZED,
    "tokenized chat": _TOKENIZED_CHAT,
    "array": _ARRAY,
    "overlapping": _OVERLAPPING,
    "match": _MATCH,
    "search": _SEARCH,
    "said": _SAID,
    "resampled": _RESAMPLED,
    "only_row": _ONLY_ROW,
    "eager": _EAGER,
    "ends": _ENDED,
}
"""Texts of what a script may need, in the order in which they are printed."""

IMPORTS = {
    "array": ("import base64", "import numpy as np"),
    "search": ("import re",),
    "resampled": ("import numpy as np",),
    "eager": ("import contextlib",),
    "os": ("import os",),
    "cache": ("from transformers import DynamicCache",),
}
"""What each of them, and other things that a script may need, import."""


@dataclass(frozen=True)
class Spot:
    """How a site of a model is written in a trace of a single prompt.

    Parameters
    ----------
    site : Site
        The site.
    model : ModelInfo
        The model, with its anatomy.
    """

    site: Site
    model: ModelInfo

    @property
    def name(self) -> str:
        """The variable that holds the tensor of all heads of the site, the tokens along its first axis."""
        if self.site.is_path:
            return "module_" + re.sub(r"\W", "_", self.site.component)
        if self.site.layer is None:
            # the script's list of results is called logits
            return f"{self.site.component}_"
        return f"{self.site.component}_{self.site.layer}"

    @property
    def tensor(self) -> str:
        """Where that tensor comes from, as a view: what is written into it changes the run."""
        if self.site.component == "logits":
            return "model.output.logits[0]"
        path, side = self.model.event(self.site)
        value = f"{_attribute(path, self.model)}.{side}"
        if self.site.is_path:
            return f"only_row({value})"
        if self.site.component == "pattern":
            return f"{value}[0].transpose(0, 1)  # [n_query, n_heads, n_key]"
        if self.site.component in ("resid_mid", "mlp_post", "mlp_out"):
            # some families have one axis for the tokens of all prompts there
            return f"{value}.flatten(0, -2)"
        if self.site.component == "resid_post" and self._anatomy_beside:
            return f"{value}[0][0]"
        place = self._place
        if not place.split:
            return f"{value}[0]"
        here = str(place.start) if self._is_single else f"{place.start}:{place.start + place.length}"
        index = ", ".join([":", *[":"] * place.axis, here])
        named = "n_kv_heads, n_queries" if len(self._axes) == 3 else "n_heads"
        return f"{value}[0].unflatten(-1, {place.split})[{index}]  # [n_tokens, {named}, d_head]"

    @property
    def needs(self) -> set[str]:
        """Which snippets that takes."""
        return {"only_row"} if self.site.is_path else {"eager"} if self.attention else set()

    @property
    def attention(self) -> str | None:
        """The module inside whose source the site is; None where it is at the end of a module."""
        path, inside, _ = self.model.event(self.site)[0].partition(".source.")
        return _attribute(path, self.model) if inside else None

    def features(self, tokens: str) -> str:
        """Return the activations ``[n_tokens, n_features]`` at tokens, which are written as an index."""
        if self.site.head is not None:
            return f"{self.name}[{tokens}, {self._head}]"
        return f"{self.name}[{tokens}]" + (".flatten(1)" if self._axes else "")

    def changed(self, tokens: str, to: str) -> str:
        """Return the line that puts new activations there."""
        if self.site.head is None and self._axes:
            return f"{self.name}[{tokens}] = {to}.unflatten(1, ({', '.join(map(str, self._axes))}))"
        return f"{self.features(tokens)} = {to}"

    @property
    def read(self) -> str:
        """The activations as results have them: ``[n_tokens, n_features]``, ``[n_tokens, n_heads, d_head]``, or of the pattern ``[n_heads, n_query, n_key]``."""
        if self.site.head is not None:
            return self.features(":")
        if self.site.component == "pattern":
            return f"{self.name}.transpose(0, 1)"
        if self._axes:
            return self.name if len(self._axes) == 2 else f"{self.name}.flatten(1, 2)"
        heads = self.model.heads(self.site)
        return f"{self.name}.unflatten(-1, ({heads}, -1))" if heads else self.name

    @property
    def _place(self) -> Place:
        assert self.model.anatomy is not None
        return self.model.anatomy.places[self.site.component]

    @property
    def _anatomy_beside(self) -> int:
        assert self.model.anatomy is not None
        return self.model.anatomy.beside

    @property
    def _is_single(self) -> bool:
        """Whether one of the axes says which of query, key and value it is, and is gone once that is chosen."""
        return len(self._place.split) == 3 and self._place.length == 1

    @property
    def _axes(self) -> tuple[int, ...]:
        """Sizes of the tensor's axes behind the tokens, where heads are apart from features; −1 for as many as there are."""
        if self.site.component == "pattern":
            return (self.model.n_heads, -1)
        if self.site.component not in HEADED or not self._place.split:
            return ()
        sizes = list(self._place.split)
        sizes[self._place.axis : self._place.axis + 1] = [] if self._is_single else [self._place.length]
        return tuple(sizes)

    @property
    def _head(self) -> str:
        head = self.site.head
        assert head is not None
        if not self._axes:
            return f"{head * self.model.d_head}:{(head + 1) * self.model.d_head}"
        if len(self._axes) == 2:
            return str(head)
        return f"{head // self._axes[1]}, {head % self._axes[1]}"


def _attribute(path: str, model: ModelInfo) -> str:
    """Return an expression for the module at a path."""
    inside = path.removeprefix(f"{model.blocks}.") if path.startswith(f"{model.blocks}.") else None
    start, rest = ("model", path) if inside is None else ("blocks", inside)
    return start + "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in rest.split("."))
