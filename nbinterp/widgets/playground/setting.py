"""What the page may say: a `Setting` of the right shape and in its bounds, or a sentence."""

from __future__ import annotations

import json
import math
import typing
from typing import Any, TypedDict, cast

from nbinterp.experiment import Generation
from nbinterp.prompts import Chat, Prompt
from nbinterp.widgets.protocol import Act, Added, Kept, Setting, Turn

MOST_ACTS = 64
MOST_TRACKED = 32
MOST_NEW_TOKENS = 2000
_MOST_TEXT = 200_000
_MOST_SEED = 2**53


def checked(value: object) -> Setting:
    """Return the setting that a page sent, its numbers of the right kind.

    Raises
    ------
    TypeError, ValueError
        For what is none; the sentence names the place.
    """
    setting = cast("Setting", _typed(value, Setting, "setting"))
    bounds = {
        "acts": (len(setting["acts"]), 0, MOST_ACTS),
        "tracked tokens": (len(setting["tracked"]), 0, MOST_TRACKED),
        "characters in the prompt": (len(setting["prompt"]), 0, _MOST_TEXT),
        "max_new_tokens": (setting["max_new_tokens"], 1, MOST_NEW_TOKENS),
        "as the temperature": (setting["temperature"], 0, 100),
        "as the seed": (setting["seed"], 0, _MOST_SEED),
    }
    for what, (number, low, high) in bounds.items():
        if not low <= number <= high:
            raise ValueError(f"got {number:,} {what}; wanted {low:,} to {high:,}.")
    ids = [act["id"] for act in setting["acts"]]
    if len(set(ids)) < len(ids):
        raise ValueError("got a setting with two acts of the same id; wanted each once.")
    return setting


def checked_runs(value: object) -> list[Kept]:
    """Return the kept runs that a page has from an earlier kernel.

    Raises
    ------
    TypeError, ValueError
        For what is none.
    """
    runs = cast("list[Kept]", _typed(value, list[Kept], "kept"))
    for run in runs:
        checked(run["setting"])
    return runs


def checked_added(value: object) -> Added:
    """Return the recipes that a page has from an earlier kernel; raises as `checked_runs`."""
    return cast("Added", _typed(value, Added, "added"))


def initial(prompt: str = "", chat: list[Turn] | None = None, *, seed: int = 0) -> Setting:
    """Return a setting without any intervention."""
    return Setting(
        moment=0,
        gesture=0,
        prompt=prompt,
        chat=chat or [],
        acts=[],
        tracked=[],
        hand="",
        parameter="",
        seed=seed,
        max_new_tokens=50,
        temperature=0.0,
    )


def prompt_of(setting: Setting) -> Prompt:
    """Return what the model is given; ValueError where there is nothing."""
    if setting["chat"]:
        return Chat([(turn["role"], turn["content"]) for turn in setting["chat"]])
    return setting["prompt"]


def generation_of(setting: Setting, rest: Generation | None) -> Generation:
    """Return how the model goes on: what a setting does not hold is taken from the rest."""
    rest = rest or Generation()
    return Generation(
        setting["max_new_tokens"], setting["temperature"], rest.top_k, rest.top_p, setting["seed"], rest.stop
    )


def written(prompt: Prompt) -> tuple[str, list[Turn]]:
    """Return a prompt as a setting has it: its text, or its messages."""
    if isinstance(prompt, str):
        return prompt, []
    return "", [Turn(role=role, content=content) for role, content in prompt.messages]


def matter(setting: Setting) -> dict[str, Any]:
    """Return what changes the answer: all but the counters and the slider in hand."""
    return {k: v for k, v in setting.items() if k not in ("moment", "gesture", "hand", "parameter")}


def copied(setting: Setting, **changes: Any) -> Setting:
    """Return a setting with some fields replaced, which shares nothing with it."""
    return cast("Setting", json.loads(json.dumps({**setting, **changes})))


def act_of(setting: Setting, identity: str) -> Act | None:
    """Return the act of that id, if it is on the stack."""
    return next((act for act in setting["acts"] if act["id"] == identity), None)


def with_value(setting: Setting, identity: str, parameter: str, value: float) -> Setting:
    """Return a setting in which one slider stands elsewhere, and its act is on."""
    acts = [
        cast("Act", {**act, "on": True, "values": {**act["values"], parameter: value}})
        if act["id"] == identity
        else act
        for act in setting["acts"]
    ]
    return cast("Setting", {**setting, "acts": acts})


def _typed(value: object, wanted: Any, path: str) -> Any:
    """Return a value in the shape of a message, whole numbers and others told apart; TypeError where it has another."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is list and isinstance(value, list | tuple):
        return [_typed(entry, arguments[0], f"{path}[{i}]") for i, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {_typed(k, str, path): _typed(v, arguments[1], f"{path}.{str(k)[:40]}") for k, v in value.items()}
    if typing.is_typeddict(wanted) and isinstance(value, dict):
        return _message(value, wanted, path)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and isinstance(value, str):
        if len(value) > _MOST_TEXT:
            raise ValueError(f"got {len(value):,} characters for {path}; wanted at most {_MOST_TEXT:,}.")
        # half of a surrogate pair is no text: nothing could be sent or saved that holds it
        return value.encode("utf-8", "replace").decode("utf-8")
    if wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) > 1e12:
            raise ValueError(f"got {value!r} for {path}; wanted a finite number of at most a billion thousands.")
        if wanted is float or float(value).is_integer():
            return wanted(value)
    kind = getattr(wanted, "__name__", str(wanted)) if origin is None else origin.__name__
    said = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}
    raise TypeError(f"got {_short(value)} for {path}; wanted {said.get(kind, 'its fields by name')}.")


def _message(value: dict[Any, Any], wanted: type[TypedDict], path: str) -> dict[str, Any]:  # type: ignore[valid-type]
    hints = typing.get_type_hints(wanted)
    if lacking := [name for name in hints if name not in value]:
        raise ValueError(f"got {path} without {', '.join(lacking)}; wanted all fields of {wanted.__name__}.")
    return {name: _typed(value[name], hint, f"{path}.{name}") for name, hint in hints.items()}


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
