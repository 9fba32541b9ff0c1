"""What the playground and its page say."""

from __future__ import annotations

from typing import TypedDict


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


class Added(TypedDict):
    """What came onto the list after the start, from which a new kernel makes it again.

    ``templates`` are interventions as JSON by the id of their recipe, in which ``{"space": name}`` stands for one of
    ``spaces``: directions, planes and the like as JSON, each once. ``missing`` says of the other recipes why they are not kept.
    """

    recipes: list[Recipe]
    templates: dict[str, str]
    spaces: dict[str, str]
    missing: dict[str, str]


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
    control's. ``warnings`` are sentences about what has no effect, or another one than it seems; ``curves`` are the keys of the
    dose-response curves that are true of this setting.
    """

    moment: int
    tokens: list[str]
    candidates: list[Chance]
    tracked: list[Tracked]
    moved: list[Moved]
    warnings: list[str]
    curves: list[str]
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
    """A playground as text: a file's name, what is in it, and what has to be known about it.

    ``reply`` is the number of the request.
    """

    reply: int
    name: str
    mime: str
    text: str
    note: str
