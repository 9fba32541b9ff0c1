"""How results say themselves in a notebook."""

from __future__ import annotations

import html


class Told:
    """A result whose ``repr`` is a head and indented lines: in a notebook they wrap, and the head stands out."""

    def _repr_html_(self) -> str:
        head, *lines = repr(self).splitlines()
        told = []
        for line in lines:
            text = line.lstrip()
            # JupyterLab would break long lines of plain text in the middle of a word
            deep = (len(line) - len(text)) / 2
            told.append(f'<div style="padding-left:{deep + 1:g}em;text-indent:-1em">{html.escape(text)}</div>')
        return (
            f'<div class="tex2jax_ignore mathjax_ignore" style="max-width:60em"><strong>{html.escape(head)}</strong>'
            f"{''.join(told)}</div>"
        )
