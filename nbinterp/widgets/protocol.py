"""What the widgets say to their pages, typed once: TypeScript's copy is generated from here.

``python -m nbinterp.widgets.protocol`` prints ``js/src/lib/protocol.ts``; a test fails when the two differ.
All angles are radians, all probabilities lie in [0, 1], all bytes are little-endian.
"""

from __future__ import annotations

import types
import typing
from typing import Literal, TypedDict


class Label(TypedDict):
    """One label of the circle: its place on the dial, and where its centroid truly lies in the plane."""

    text: str
    angle: float
    x: float
    y: float


class Layer(TypedDict):
    """One layer at which the dial can turn, with the circle that was fitted there."""

    layer: int
    labels: list[Label]
    statement: str


class DialSpec(TypedDict):
    """What stays the same while the hand moves."""

    concept: str
    prompt: str
    tokens: list[str]
    layers: list[Layer]


class Candidate(TypedDict):
    """A next token with its probability in the untouched, the turned and the randomly pushed run."""

    text: str
    base: float
    turned: float
    control: float


class DialAnswer(TypedDict):
    """The model's answer to one position of the hand; the page is up to date when it equals what it shows."""

    angle: float
    layer: int
    token: int
    start: float
    candidates: list[Candidate]
    milliseconds: float


class Series(TypedDict):
    """One next token's probability over the angles of a sweep."""

    text: str
    base: float
    turned: list[float]
    control: list[float]


class DialSweep(TypedDict):
    """The response over the whole turn; ``angles`` and the series grow while it is being computed up to ``total``."""

    layer: int
    token: int
    start: float
    total: int
    angles: list[float]
    series: list[Series]


class Picked(TypedDict):
    """What is selected, by kind; see `nbinterp.widgets.selection`.

    ``rows`` and ``examples`` are bits, the first row in the lowest bit of the first byte; empty means that none is.
    """

    rows: bytes
    examples: bytes
    tokens: list[int]
    layers: list[int]
    heads: list[list[int]]


class Task(TypedDict):
    """Work that takes long enough to be shown; ``total`` is 0 where nobody knows it."""

    name: str
    done: int
    total: int
    stoppable: bool


class Column(TypedDict):
    """One column of a table as a page draws it.

    ``values`` are float32 ``[row]`` of a number (NaN where it is missing), or, of a label, codes ``[row]`` into ``levels``
    as unsigned integers of ``width`` bytes (the largest one where it is missing).
    """

    name: str
    kind: Literal["number", "label"]
    cyclic: bool
    levels: list[str]
    low: float
    high: float
    width: int
    values: bytes


class Facts(TypedDict):
    """One row of a table in words, in the order of the columns that the page knows from ``RowsReply.columns``."""

    row: int
    cells: list[str]


class RowsReply(TypedDict):
    """Lines of a table that the page asked for; ``total`` lines there are in that order."""

    reply: int
    columns: list[str]
    facts: list[Facts]
    total: int


class ScatterSpec(TypedDict):
    """A scatter of ``n`` rows; ``note`` says why it is drawn this way, ``choices`` are the columns to colour by."""

    n: int
    title: str
    x: str
    y: str
    choices: list[str]
    note: str


class ScatterPoints(TypedDict):
    """Where the rows lie: float32 ``[row, 2]``."""

    xy: bytes


class Turn(TypedDict):
    """One message of a chat."""

    role: str
    content: str


class Parameter(TypedDict):
    """One number of an intervention; at ``home`` it changes nothing, or least."""

    name: str
    low: float
    high: float
    step: float
    home: float
    start: float
    unit: str


class Recipe(TypedDict):
    """One intervention that can be added to the stack: what the page knows of it.

    ``found`` is the layer where its direction, plane or loop was found, -1 where that means nothing. ``texts`` names what
    has to be written down, for example the prompt that a patch takes from.
    """

    id: str
    kind: str
    name: str
    statement: str
    components: list[str]
    layers: list[int]
    found: int
    parameters: list[Parameter]
    texts: list[str]


class Act(TypedDict):
    r"""One intervention of the stack: a recipe, where it acts, and how much.

    ``layer`` is -1 where the component belongs to none, ``head`` is -1 for all heads. ``tokens`` and ``steps`` are written as
    `nbinterp.widgets.playground.places` reads them: ``all``, ``last``, ``3``, ``2:5, 7``, ``" France"``, ``/F\w+/``.
    """

    id: str
    recipe: str
    on: bool
    component: str
    layer: int
    head: int
    tokens: str
    steps: str
    values: dict[str, float]
    texts: dict[str, str]


class Setting(TypedDict):
    """All that the hand can change in a playground: what is undone, kept, restored and saved.

    ``moment`` grows with every change, ``gesture`` with every press of the pointer or a key: changes of one gesture are
    undone together. ``hand`` and ``parameter`` say whose dose-response curve is drawn. ``chat`` is empty for a plain prompt.
    """

    moment: int
    gesture: int
    prompt: str
    chat: list[Turn]
    acts: list[Act]
    tracked: list[str]
    hand: str
    parameter: str
    seed: int
    max_new_tokens: int
    temperature: float


class Component(TypedDict):
    """A place in every layer where interventions can act; ``heads`` is 0 where it has none."""

    name: str
    what: str
    heads: int
    layered: bool


class PlaygroundSpec(TypedDict):
    """What stays the same while people play."""

    model: str
    n_layers: int
    chat: bool
    components: list[Component]


class Chance(TypedDict):
    """A next token's probability in the untouched, the changed and the control run."""

    text: str
    base: float
    changed: float
    control: float


class Standing(TypedDict):
    """Where a token stands among the next ones; the likeliest has rank 1."""

    probability: float
    logit: float
    rank: int


class Tracked(TypedDict):
    """A token that is followed, in the three runs."""

    text: str
    base: Standing
    changed: Standing
    control: Standing


class Moved(TypedDict):
    """How far an intervention moved what it acts on, as a share of its length, and what the control did instead."""

    act: str
    moved: float
    control: str
    problem: str


class PlaygroundAnswer(TypedDict):
    """The model's answer to the setting of that ``moment``.

    ``kl`` is the Kullback-Leibler divergence of the changed from the untouched distribution, in nats; ``kl_control`` that of the
    control's.
    """

    moment: int
    tokens: list[str]
    candidates: list[Chance]
    tracked: list[Tracked]
    moved: list[Moved]
    kl: float
    kl_control: float
    milliseconds: float


class Response(TypedDict):
    """One quantity over the values of a sweep."""

    text: str
    base: float
    changed: list[float]
    control: list[float]


class Curve(TypedDict):
    """The dose-response curve of one slider: it grows while it is being computed, up to ``total`` values.

    ``series`` are probabilities of next tokens; ``difference`` is the logit difference of the first two tracked tokens, or none.
    ``key`` names all that the curve depends on beside the slider: with another key it is out of date.
    """

    act: str
    parameter: str
    key: str
    values: list[float]
    total: int
    series: list[Response]
    difference: list[Response]


class Alternative(TypedDict):
    """A token that might have come."""

    text: str
    probability: float


class Said(TypedDict):
    """One generated token, its probability, and the likeliest tokens at its place."""

    text: str
    probability: float
    top: list[Alternative]


class Generated(TypedDict):
    """What the model went on to say, untouched, changed, and under the control, as far as it has come."""

    moment: int
    running: bool
    base: list[Said]
    changed: list[Said]
    control: list[Said]


class Kept(TypedDict):
    """A run of the history."""

    id: str
    name: str
    parent: str
    when: str
    summary: str
    setting: Setting
    candidates: list[Chance]
    tracked: list[Tracked]
    said: str


class Timeline(TypedDict):
    """What undo and redo would do, in words; empty where there is nothing."""

    undo: str
    redo: str


class Exported(TypedDict):
    """A playground as text: a file's name and what is in it; ``reply`` is the number of the request."""

    reply: int
    name: str
    mime: str
    text: str


class Layout(TypedDict):
    """One way of laying out the rows; ``note`` is what has to be known about it, ``x`` and ``y`` are its axes' titles."""

    name: str
    x: str
    y: str
    note: str


class AtlasSpec(TypedDict):
    """What stays the same: how many rows, which sites, which layouts, and whether there is a model to ask."""

    n: int
    title: str
    sites: list[str]
    layouts: list[Layout]
    model: str


class AtlasView(TypedDict):
    """What is shown, and changed by the hand: ``site`` is an index, ``x`` and ``y`` are columns for the layout ``columns``."""

    layout: str
    x: str
    y: str
    color: str
    histogram: str
    site: int
    n_neighbors: int
    min_dist: float


class Positions(TypedDict):
    """Where the rows lie in a layout at some of the sites: float32 ``[site, row, 2]``, aligned from one to the next."""

    layout: str
    sites: list[int]
    x: str
    y: str
    note: str
    xy: bytes


class Feature(TypedDict):
    """One class of persistent homology; ``rows`` are those of its representative, in order along it where it is a loop."""

    id: str
    dimension: int
    birth: float
    death: float
    rows: list[int]


class Shapes(TypedDict):
    """Persistent homology at one site: a loop is called one above both limits; ``verdict`` says it in a sentence."""

    site: int
    features: list[Feature]
    threshold: float
    ratio: float
    end: float
    p: float
    verdict: str
    note: str


class Claim(TypedDict):
    """What a selection was made into, and how sure it is: ``p_corrected`` counts all ``looks`` that were taken so far.

    ``p`` is NaN where nothing was tested. ``caveat`` says what it does not show.
    """

    id: str
    kind: Literal["direction", "plane", "circle"]
    name: str
    site: str
    n_rows: int
    statement: str
    caveat: str
    p: float
    p_corrected: float
    effect: float


class Again(TypedDict):
    """The cloud collected again under interventions, in the same layout: float32 ``[row, 2]``."""

    site: int
    layout: str
    what: str
    statement: str
    xy: bytes


MESSAGES = (
    *(Label, Layer, DialSpec, Candidate, DialAnswer, Series, DialSweep),
    *(Picked, Task, Column, Facts, RowsReply, ScatterSpec, ScatterPoints),
    *(
        Turn,
        Parameter,
        Recipe,
        Act,
        Setting,
        Component,
        PlaygroundSpec,
        Chance,
        Standing,
        Tracked,
        Moved,
        PlaygroundAnswer,
    ),
    *(Response, Curve, Alternative, Said, Generated, Kept, Timeline, Exported),
    *(Layout, AtlasSpec, AtlasView, Positions, Feature, Shapes, Claim, Again),
)

_TYPESCRIPT = {
    str: "string",
    float: "number",
    int: "number",
    bool: "boolean",
    bytes: "DataView",
    types.NoneType: "null",
}


def _typescript_type(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return _typescript_type(arguments[0]) + "[]"
    if origin is dict:
        return f"Record<{_typescript_type(arguments[0])}, {_typescript_type(arguments[1])}>"
    if origin is Literal:
        return " | ".join(f"'{value}'" for value in arguments)
    if isinstance(annotation, type) and annotation in _TYPESCRIPT:
        return _TYPESCRIPT[annotation]
    return typing.cast("type", annotation).__name__


def typescript() -> str:
    """Return the TypeScript interfaces of all messages, ready to be written to ``js/src/lib/protocol.ts``."""
    blocks = ["// Generated by `python -m nbinterp.widgets.protocol`; change nbinterp/widgets/protocol.py instead."]
    for message in MESSAGES:
        fields = typing.get_type_hints(message).items()
        body = "".join(f"  {name}: {_typescript_type(annotation)};\n" for name, annotation in fields)
        blocks.append(f"export interface {message.__name__} {{\n{body}}}")
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    print(typescript(), end="")
