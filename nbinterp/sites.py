"""Where in a model: a component of a layer, of one head, or any module by its path. Data only."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPONENTS: dict[str, str] = {
    "embed": "the token embeddings",
    "resid_pre": "the residual stream before a block",
    "q": "queries, before positions are rotated in",
    "k": "keys, before positions are rotated in",
    "v": "values",
    "pattern": "attention probabilities of each query over the keys",
    "z": "each head's mixture of values, before the output projection",
    "attn_out": "what attention adds to the residual stream",
    "resid_mid": "the residual stream between attention and MLP",
    "mlp_post": "neurons after the nonlinearity (and its gate)",
    "mlp_out": "what the MLP adds to the residual stream",
    "resid_post": "the residual stream after a block",
    "logits": "the scores of the next token",
}
"""Component names (the ones that TransformerLens made standard), in forward order, with what each one is."""

UNLAYERED = frozenset({"embed", "logits"})
"""Components that a model has once and not in every layer."""

HEADED = frozenset({"q", "k", "v", "z", "pattern"})
"""Components that are made of heads."""


@dataclass(frozen=True)
class Site:
    """A place in a model, written as text ``component.layer``, ``component.layer.head``, or as a module's path.

    Parameters
    ----------
    component : str
        A key of `COMPONENTS`; or the path of a module (``"model.layers.3.mlp.act_fn"``), which stands for its output, or
        with ``":input"`` behind it for its input.
    layer : int, optional
        The block, counted from 0; for components other than ``embed``, ``logits`` and paths.
    head : int, optional
        One head of ``q``, ``k``, ``v``, ``z`` or ``pattern``, counted from 0; all heads by default.

    Raises
    ------
    ValueError
        When the component is unknown, or the layer or head is missing, superfluous or negative.

    Examples
    --------
    >>> Site.of("resid_post.10")
    Site('resid_post.10')
    >>> Site.of("z.3.5").head
    5
    """

    component: str
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        name, text = self.component, str(self)
        if self.is_path:
            if self.layer is not None or self.head is not None or not re.fullmatch(r"\w+(\.\w+)*(:input)?", name):
                raise ValueError(
                    f"got the unknown site {text!r}; known components are {', '.join(COMPONENTS)}: write for example "
                    "'resid_post.10', 'z.3.5', or a module's path such as 'model.layers.3.mlp'."
                )
            return
        if (self.layer is None) != (name in UNLAYERED):
            wanted = f"'{name}'" if name in UNLAYERED else f"'{name}.<layer>', for example '{name}.10'"
            raise ValueError(f"got the site {text!r}; wanted {wanted}.")
        if self.head is not None and name not in HEADED:
            raise ValueError(
                f"got a head in the site {text!r}; heads have {', '.join(c for c in COMPONENTS if c in HEADED)}."
            )
        for what, number in (("layer", self.layer), ("head", self.head)):
            if number is not None and number < 0:
                raise ValueError(f"got {what} {number} in a site; {what}s count from 0: write for example '{name}.0'.")

    @classmethod
    def of(cls, site: str | Site) -> Site:
        """Return the site that a text such as ``"resid_post.10"`` names; a site is returned as it is."""
        if isinstance(site, Site):
            return site
        if not isinstance(site, str):
            raise TypeError(f"got a site of type {type(site).__name__}; wanted text such as 'resid_post.10' or a Site.")
        if numbered := re.fullmatch(r"([A-Za-z_]\w*)\.(\d+)(?:\.(\d+))?", site):
            name, layer, head = numbered.groups()
            return cls(name, int(layer), None if head is None else int(head))
        return cls(site)

    @property
    def is_path(self) -> bool:
        """Whether this is a module's path and no component."""
        return self.component not in COMPONENTS

    def __str__(self) -> str:
        return ".".join(str(part) for part in (self.component, self.layer, self.head) if part is not None)

    def __repr__(self) -> str:
        return f"Site('{self}')"
