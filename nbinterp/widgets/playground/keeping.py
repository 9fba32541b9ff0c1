"""Recipes as plain data: what was added to a playground outlives its kernel in the notebook."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import attrs

from nbinterp.experiment import Experiment
from nbinterp.interventions import intervention_from_json
from nbinterp.spaces import Subspace
from nbinterp.widgets.protocol import Added, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nbinterp.operations import Intervention

MOST = 150_000
"""Characters that may be kept: about three directions of 4,096 features, or one plane."""


def written(offers: Iterable[tuple[Recipe, Intervention]], missing: Iterable[tuple[Recipe, str]] = ()) -> Added:
    """Return recipes as data, the first ones first, as long as there is room.

    Parameters
    ----------
    offers : iterable of (Recipe, Intervention)
        What the page knows of each, and what it makes.
    missing : iterable of (Recipe, str)
        Those that were not kept before, and why.
    """
    added = Added(recipes=[], templates={}, spaces={}, missing={})
    size = 0
    for recipe, template in offers:
        added["recipes"].append(recipe)
        try:
            text, spaces = _parts(template)
        except TypeError as error:
            added["missing"][recipe["id"]] = str(error).rstrip(".")
            continue
        new = {name: space for name, space in spaces.items() if name not in added["spaces"]}
        length = len(text) + sum(map(len, new.values()))
        if size + length > MOST:
            added["missing"][recipe["id"]] = (
                f"it takes {length:,} characters, and of {MOST:,} there are {MOST - size:,} left"
            )
            continue
        size += length
        added["templates"][recipe["id"]] = text
        added["spaces"] |= new
    for recipe, why in missing:
        added["recipes"].append(recipe)
        added["missing"][recipe["id"]] = why
    return added


def read(added: Added) -> Iterator[tuple[Recipe, Intervention | str]]:
    """Yield each recipe with what it makes, or with why that is not known.

    Raises
    ------
    ValueError
        For what `written` did not write.
    """
    for recipe in added["recipes"]:
        identity = recipe["id"]
        if identity not in added["templates"]:
            yield recipe, added["missing"].get(identity, "nobody wrote it down")
            continue
        try:
            value = json.loads(added["templates"][identity])
            for name, part in value.items():
                if isinstance(part, dict) and "space" in part:
                    value[name] = json.loads(added["spaces"][part["space"]])
            template = intervention_from_json(value, Experiment.from_json_value)
        except Exception as error:  # a file may hold anything in its place
            raise ValueError(
                f"got the kept recipe {identity[:40]!r}, which cannot be read ({type(error).__name__}: {error}); add it again."
            ) from error
        known = {field.name for field in attrs.fields(type(template))}
        if strange := [p["name"] for p in recipe["parameters"] if p["name"] not in known]:
            raise ValueError(
                f"got a kept recipe with the sliders {strange} of a {type(template).__name__}; add it again."
            )
        yield recipe, template


def _parts(template: Intervention) -> tuple[str, dict[str, str]]:
    """Return an intervention as JSON, and its spaces apart: what is done with one direction shares it."""
    value: dict[str, Any] = template.to_json()
    spaces: dict[str, str] = {}
    for name, part in value.items():
        if isinstance(getattr(template, name, None), Subspace):
            text = _text(part)
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
            spaces[key], value[name] = text, {"space": key}
    return _text(value), spaces


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
