import json

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp import arithmetic
from nbinterp.anatomy import ModelInfo
from nbinterp.experiment import Experiment
from nbinterp.interventions import Ablate, Cut, Patch, Project, Rotate, Scale, Steer, intervention_from_json
from nbinterp.operations import SourceExperiment, Sources
from nbinterp.prompts import Chat, TokenizedPrompt
from nbinterp.sites import Site
from nbinterp.spaces import Activations, Basis, Direction, Loop, Plane
from nbinterp.tokens import Positions, Span
from tests.test_tokens import prompts, selections, steps

HEADS = ModelInfo("heads", "abc", "X", 4, 32, 100, "b", n_heads=4, n_kv_heads=2, d_head=8, d_mlp=64)
PLANE = Plane("resid_post.1", None, np.arange(3), np.eye(3)[:2])
LOOP = Loop("resid_post.1", None, np.zeros(3), np.ones((1, 3)), np.eye(3)[:1])
CHAT = Chat([("user", "Hello")])

sites = st.integers(0, 3).map(lambda layer: f"resid_post.{layer}")
finite = st.floats(-10, 10)


@st.composite
def interventions(draw):
    """An intervention of any kind on 3 features."""
    site = draw(sites)
    vector = np.array(draw(st.lists(finite, min_size=3, max_size=3)))
    loop = Loop(site, None, vector, vector[None], vector[None] + 1)
    plane = Plane(site, None, vector, np.eye(3)[:2])
    on = draw(st.sampled_from([plane, Basis(site, None, vector, np.eye(3)), Direction(site, None, vector + 11)]))
    number, share, others = draw(finite), draw(st.floats(0, 1)), draw(st.lists(prompts, min_size=1, max_size=3))
    act = draw(
        st.sampled_from(
            [
                Ablate(site),
                Ablate(site, mean=vector, amount=share),
                Ablate(site, mean=others),
                Ablate(site, resample=others, seed=draw(st.integers(0, 9))),
                Patch(site, source=others[0], source_tokens=draw(selections.filter(lambda s: s != Positions(())))),
                Patch(site, source=Experiment(others[0], Steer(site, direction=vector), site), source_tokens=-1),
                Patch(site, source=vector, amount=share),
                Patch(site, source=np.stack([vector, vector])),
                Steer(site, direction=vector, scale=number),
                Steer(site, direction=vector + 11, to=number),
                Scale(site, number),
                Scale(site, number, on=on),
                Project(site, on=on, out=draw(st.booleans()), amount=share),
                Rotate(site, on=loop, to=number, start=draw(st.none() | finite)),
                Rotate(site, on=plane, by=number),
            ]
        )
    )
    chosen, at = draw(selections), draw(st.none() | steps)
    if chosen == Positions(()) and at is None:
        at = 0
    if at is None and draw(st.booleans()):
        keys = draw(selections.filter(lambda s: s != Positions(())))
        act = Cut("pattern.1.2", keys=keys, renormalised=draw(st.booleans()))
    return attrs.evolve(act, tokens=chosen, steps=at, enabled=draw(st.booleans()))


@settings(deadline=None)
@given(interventions())
def test_json_gives_the_same_intervention_back(act):
    text = json.dumps(act.to_json())
    again = intervention_from_json(json.loads(text), Experiment.from_json_value)
    assert again == act
    assert hash(again) == hash(act)
    assert type(again) is type(act)
    assert json.dumps(again.to_json()) == text


def test_whole_and_decimal_numbers_are_the_same_intervention():
    assert json.dumps(Scale("mlp_out.1", 2).to_json()) == json.dumps(Scale("mlp_out.1", np.float32(2.0)).to_json())


def test_an_earlier_format_is_read():
    old = {"kind": "Patch", "site": "resid_post.1", "tokens": [-1], "source": "a", "source_tokens": None}
    assert intervention_from_json(old) == Patch("resid_post.1", source="a", tokens=-1)
    old = {"kind": "Ablate", "site": "resid_post.1", "tokens": {"text": "a", "nth": None}, "mean": None}
    assert intervention_from_json(old) == Ablate("resid_post.1", tokens="a", amount=1)


def test_by_default_an_intervention_acts_at_all_tokens_of_the_prompt_and_no_step():
    act = Ablate("z.3.5")
    assert (act.site, act.tokens, act.steps, act.enabled) == (Site("z", 3, 5), Span(), None, True)
    assert Ablate("z.3.5", tokens=[], steps="all").steps == Span()


@pytest.mark.parametrize(
    ("act", "function", "arrays", "numbers"),
    [
        (Ablate("z.1"), arithmetic.put, {"value": [0]}, {}),
        (Ablate("z.1", mean=[1, 2, 3]), arithmetic.put, {"value": [1, 2, 3]}, {}),
        (Patch("z.1", source=[1, 2, 3]), arithmetic.put, {"value": [1, 2, 3]}, {}),
        (Patch("z.1", source=np.eye(3)), arithmetic.put, {"value": np.eye(3)}, {}),
        (Patch("z.1", source=Direction("z.1", None, [1, 2])), arithmetic.put, {"value": [1, 2]}, {}),
        (Patch("z.1", source="a"), arithmetic.put, {}, {}),
        (Ablate("z.1", mean="a"), arithmetic.put, {}, {}),
        (Steer("z.1", direction=[3, 4], scale=2), arithmetic.steer, {"direction": [3, 4]}, {"scale": 2}),
        (Steer("z.1", direction=[3, 4], to=2), arithmetic.set_projection, {"direction": [0.6, 0.8]}, {"to": 2}),
        (Scale("z.1", 2), arithmetic.scale, {}, {"factor": 2}),
        (Scale("resid_post.1", 2, on=PLANE), arithmetic.scale_within, PLANE.arrays(), {"factor": 2}),
        (
            Scale("z.1", 2, on=Direction(None, None, [3, 4])),
            arithmetic.scale_within,
            {"centre": [0, 0], "basis": [[0.6, 0.8]]},
            {"factor": 2},
        ),
        (Cut("pattern.1", keys=0), arithmetic.cut, {}, {"renormalised": True}),
        (Project("resid_post.1", on=PLANE), arithmetic.project_onto, PLANE.arrays(), {}),
        (Project("resid_post.1", on=PLANE, out=True), arithmetic.project_out, PLANE.arrays(), {}),
        (Rotate("resid_post.1", on=PLANE, by=1), arithmetic.turn_in_plane, PLANE.arrays(), {"by": 1, "to": None}),
        (
            Rotate("resid_post.1", on=LOOP, to=1),
            arithmetic.move_along_loop,
            LOOP.arrays(),
            {"by": None, "to": 1, "start": None},
        ),
    ],
)
def test_what_an_intervention_computes(act, function, arrays, numbers):
    operation = act.operation()
    assert operation.function is function
    assert operation.numbers == numbers
    assert operation.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(operation.arrays[name], array)


@pytest.mark.parametrize(
    "act",
    [
        Ablate("z.1"),
        Ablate("z.1", mean=[1, 2, 3]),
        Ablate("z.1", mean="a"),
        Ablate("z.1", resample="a"),
        Patch("z.1", source=[1, 2, 3]),
        Patch("z.1", source=np.eye(3)[:2]),
        Patch("z.1", source="a"),
        Project("resid_post.1", on=PLANE),
        Project("resid_post.1", on=PLANE, out=True),
    ],
)
def test_a_share_of_a_change_lies_on_the_way_to_it(act):
    x = np.array([[4.0, -2.0, 1.0], [0.3, 0.1, 1e9]])

    def becomes(x, amount):
        operation = attrs.evolve(act, amount=amount).operation()
        arrays = {"value": np.full(3, 7.0)} if act.sources() else operation.arrays
        tensors = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
        whole = operation.function(torch.tensor(x), **tensors).numpy()
        return operation(torch.tensor(x), tensors).numpy(), whole

    for amount in (0.0, 0.25, 0.5, 0.9, 1.0):
        got, whole = becomes(x, amount)
        np.testing.assert_allclose(got, x + amount * (whole - x), rtol=1e-12, atol=1e-6)
        if amount in (0, 1):
            np.testing.assert_array_equal(got, whole if amount else x)
    # all of a change is the change also where the way to it cannot be measured
    got, whole = becomes(np.where(x == 4, np.inf, x), 1)
    np.testing.assert_array_equal(got, whole)


EXPERIMENT = Experiment("b", Ablate("mlp_out.0"))


@pytest.mark.parametrize(
    ("act", "wanted"),
    [
        (Ablate("z.1"), None),
        (Ablate("z.1", mean=[1, 2]), None),
        (Ablate("z.1", mean="a"), Sources(("a",), Span(), "mean")),
        (Ablate("z.1", mean=["a", CHAT]), Sources(("a", CHAT), Span(), "mean")),
        (Ablate("z.1", mean=CHAT.to_json()), Sources((CHAT,), Span(), "mean")),
        (Ablate("z.1", resample=["a", "b"], seed=3), Sources(("a", "b"), Span(), "resample", 3)),
        (Patch("z.1", source=[1, 2]), None),
        (Patch("z.1", source="a", tokens=-1), Sources(("a",), Positions((-1,)), "each")),
        (Patch("z.1", source=CHAT.to_json(), source_tokens=0), Sources((CHAT,), Positions((0,)), "each")),
        (Patch("z.1", source=EXPERIMENT), Sources((EXPERIMENT,), Span(), "each")),
    ],
)
def test_what_an_intervention_takes_from_other_runs(act, wanted):
    assert act.sources() == wanted
    assert hash(act.sources()) == hash(wanted)


def test_an_experiment_can_be_a_source():
    assert isinstance(EXPERIMENT, SourceExperiment)
    assert not isinstance("text", SourceExperiment)


def test_given_activations_keep_their_place(info):
    found = Activations("resid_post.1", info, np.ones((2, 3)))
    Patch("resid_post.1", source=found).check(info)
    assert Patch("resid_post.1", source=Direction("resid_post.1", info, np.ones(3))).source.site == found.site
    with pytest.raises(ValueError, match="^got Activations found at resid_post.1, used at resid_post.2: "):
        Patch("resid_post.2", source=found).check(info)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Ablate("z.1", tokens=[]),
            ValueError,
            "got an Ablate at no token of the prompt and no step, which does nothing: choose some with tokens= or steps=.",
        ),
        (
            lambda: Scale("z.1", 2.0, tokens=[], steps=[]),
            ValueError,
            "got a Scale at no token of the prompt and no step, which does nothing: choose some with tokens= or steps=.",
        ),
        (lambda: Ablate("z.1", enabled=1), TypeError, "got enabled=1; wanted True or False."),
        (
            lambda: Ablate("z.1", mean="a", resample="b"),
            ValueError,
            "got both mean and resample in an Ablate; give one of the two, or none for zeros.",
        ),
        (lambda: Ablate("z.1", mean=[]), ValueError, "got no prompt; wanted at least one text or chat."),
        (
            lambda: Ablate("z.1", mean={1, 2}),
            TypeError,
            "got a direction of type set; wanted an array of numbers.",
        ),
        (
            lambda: Ablate("z.1", mean=np.eye(3)),
            ValueError,
            "got a Direction's vector of shape [3, 3]; wanted [n_features].",
        ),
        (lambda: Ablate("z.1", resample="a", seed=-1), ValueError, "got seed=-1; wanted a whole number from 0 up."),
        (
            lambda: Patch("z.1", source=""),
            ValueError,
            "got an empty text as the source of a Patch; wanted text with at least one token.",
        ),
        (
            lambda: Patch("z.1", source=None),
            TypeError,
            "got the source of a Patch of type NoneType; wanted text, an nb.Chat, or a list of messages such as {'role': 'user', 'content': 'Hello'}.",
        ),
        (
            lambda: Patch("z.1", source=Experiment(["a", "b"])),
            ValueError,
            "got an experiment of 2 prompts as the source of a Patch; wanted one of a single prompt.",
        ),
        (
            lambda: Patch("z.1", source=np.zeros((2, 2, 2))),
            ValueError,
            "got Activations's values of shape [2, 2, 2]; wanted [n_tokens, n_features].",
        ),
        (
            lambda: Patch("z.1", source=[1, 2], source_tokens=-1),
            ValueError,
            "got source_tokens in a Patch from an array, whose rows are the tokens; leave them out.",
        ),
        (
            lambda: Patch("z.1", source="a", tokens=[], steps="all"),
            ValueError,
            "got no token of the source in a Patch; say which one to take, for example source_tokens=-1.",
        ),
        (
            lambda: Steer("z.1", direction=[1, 2], scale=2, to=3),
            ValueError,
            "got scale=2.0 and to=3.0 in a Steer; give one of the two: how much to add, or where to go.",
        ),
        (
            lambda: Steer("z.1", direction=[0, 0], to=3),
            ValueError,
            "got a Direction of length 0, which points nowhere; wanted one with an entry other than 0.",
        ),
        (
            lambda: Steer("z.1", direction=["a"]),
            TypeError,
            "got a direction of type list; wanted an array of numbers.",
        ),
        (lambda: Steer("z.1", direction=[1], scale="2"), ValueError, "got scale='2'; wanted a finite number."),
        (lambda: Steer("z.1", direction=[1], scale=np.inf), ValueError, "got scale=inf; wanted a finite number."),
        (
            lambda: Ablate("z.1", amount=1.5),
            ValueError,
            "got amount=1.5 in an Ablate; wanted a number from 0 (nothing changes) to 1 (all of it).",
        ),
        (
            lambda: Patch("z.1", source="a", amount=float("nan")),
            ValueError,
            "got amount=nan in a Patch; wanted a number from 0 (nothing changes) to 1 (all of it).",
        ),
        (
            lambda: Project("resid_post.1", on=PLANE, amount="half"),
            ValueError,
            "got amount='half' in a Project; wanted a number from 0 (nothing changes) to 1 (all of it).",
        ),
        (lambda: Scale("z.1", float("nan")), ValueError, "got factor=nan; wanted a finite number."),
        (
            lambda: Scale("z.1", 2.0, on=[1, 2]),
            TypeError,
            "got on=list in a Scale; wanted a Direction, a Plane or a Basis.",
        ),
        (
            lambda: Project("z.1", on=LOOP),
            TypeError,
            "got on=Loop in a Project; wanted a Direction, a Plane or a Basis.",
        ),
        (
            lambda: Project("z.1", on=Direction(None, None, [0, 0])),
            ValueError,
            "got a Direction of length 0, which points nowhere; wanted one with an entry other than 0.",
        ),
        (
            lambda: Rotate("z.1", on=np.ones(3), by=1.0),
            TypeError,
            "got on=ndarray in a Rotate; wanted a Plane or a Loop, for example circle.loop.",
        ),
        (
            lambda: Rotate("z.1", on=PLANE),
            ValueError,
            "got by=None and to=None in a Rotate; give one of the two, in radians.",
        ),
        (
            lambda: Rotate("z.1", on=PLANE, by=1, start=0),
            ValueError,
            "got a start for a Rotate in a Plane, where the projection says it: leave start out, or turn on a Loop.",
        ),
        (
            lambda: intervention_from_json({"kind": "Clamp"}),
            ValueError,
            "got an intervention of kind 'Clamp'; known are Ablate, Patch, Steer, Scale, Cut, Project, Rotate.",
        ),
        (
            lambda: intervention_from_json({"kind": "Scale", "site": "z.1", "factor": 2.0, "strength": 3}),
            ValueError,
            "got the unknown settings ['strength'] of a Scale; known are site, tokens, steps, enabled, factor, on.",
        ),
        (
            lambda: intervention_from_json(Patch("z.1", source=EXPERIMENT).to_json()),
            ValueError,
            "got a Patch that holds an experiment; read it with Experiment.from_json.",
        ),
    ],
)
def test_what_is_no_intervention_is_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "act",
    [
        Steer("z.3.3", direction=np.ones(8)),
        Steer("logits", direction=np.ones(100)),
        Steer("embed", direction=np.ones(32)),
        Steer("resid_pre.2", direction=Direction("resid_post.1", None, np.ones(32))),
        Scale("mlp_post.3", 0.0, on=Direction(None, None, np.ones(64))),
        Project("k.1", on=Basis("k.1", None, np.zeros(16), np.eye(16)[:3])),
        Rotate("logits", on=Plane(None, None, np.zeros(100), np.eye(100)[:2]), by=1.0),
        Ablate("pattern.1.2"),
        Scale("pattern.1", 0.5),
        Patch("pattern.1", source="other"),
        Patch("pattern.1.0", source=np.full(5, 0.2)),
        Patch("q.1", source=Experiment("b", Ablate("z.1.3"))),
    ],
)
def test_what_can_be_done_is_not_refused(act):
    act.check(HEADS)


KEYS = "whose features are the keys, as many as the prompt has tokens: use Ablate, Scale or Patch there without one."


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Ablate("resid_post.4"), "got layer 4 in 'resid_post.4'; heads has 4 layers: choose 0 to 3."),
        (
            Steer("z.3.3", direction=np.ones(32)),
            "got a Direction with 32 features at z.3.3; heads has 8 there.",
        ),
        (
            Scale("mlp_post.3", 0.0, on=Direction(None, None, np.ones(32))),
            "got a Direction with 32 features at mlp_post.3; heads has 64 there.",
        ),
        (
            Patch("z.1.1", source=np.ones((2, 9))),
            "got Activations with 9 features at z.1.1; heads has 8 there.",
        ),
        (
            Patch("q.1", source=Experiment("b", Ablate("z.7"))),
            "got layer 7 in 'z.7'; heads has 4 layers: choose 0 to 3.",
        ),
        (Steer("pattern.1", direction=np.ones(4)), f"got a Direction in a Steer at pattern.1, {KEYS}"),
        (Ablate("pattern.1.2", mean=np.ones(4)), f"got a Direction in an Ablate at pattern.1.2, {KEYS}"),
        (Ablate("pattern.1", mean=["a"]), f"got reference prompts in an Ablate at pattern.1, {KEYS}"),
        (Ablate("pattern.1", resample=["a"]), f"got reference prompts in an Ablate at pattern.1, {KEYS}"),
        (
            Rotate("pattern.1", on=Plane(None, None, np.zeros(3), np.eye(3)[:2]), by=1),
            f"got a Plane in a Rotate at pattern.1, {KEYS}",
        ),
        (
            Project("pattern.1", on=Basis(None, None, np.zeros(3), np.eye(3)[:1])),
            f"got a Basis in a Project at pattern.1, {KEYS}",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused(act, message):
    for refuse in (act.check, act.bound):
        with pytest.raises(ValueError, match="^got") as caught:
            refuse(HEADS)
        assert str(caught.value) == message


def test_binding_binds_the_experiment_that_is_a_source():
    bound = Patch("q.1", source=EXPERIMENT).bound(HEADS)
    assert bound.source == EXPERIMENT.on(HEADS)
    assert bound.source.model == HEADS
    plain = Patch("q.1", source="a")
    assert plain.bound(HEADS) is plain


def test_a_cut_takes_keys_away_and_gives_their_weight_to_the_others():
    prompt = TokenizedPrompt("abcd", (1, 2, 3, 4), ("a", "b", "c", "d"), ((0, 1), (1, 2), (2, 3), (3, 4)))
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0, 0.5, 0.0, 0.5]])  # two heads over four keys
    for renormalised, wanted in (
        (True, [[0.25, 0, 0.75, 0, 0, 0, 0, 0]]),
        (False, [[0.1, 0, 0.3, 0, 0, 0, 0, 0]]),
    ):
        operation = Cut("pattern.1", keys=[1, 3], renormalised=renormalised).operation_in(prompt)
        arguments = {name: torch.tensor(array, dtype=torch.float32) for name, array in operation.arrays.items()}
        torch.testing.assert_close(operation(weights, arguments), torch.tensor(wanted))
    assert Cut("pattern.1", keys="c").operation_in(prompt).arrays["keep"].tolist() == [1, 1, 0, 1]


def test_keys_that_are_not_there_are_called_keys():
    prompt = TokenizedPrompt("abcd", (1, 2, 3, 4), ("a", "b", "c", "d"), ((0, 1), (1, 2), (2, 3), (3, 4)))
    with pytest.raises(LookupError, match="got keys='x', which does not occur in the prompt 'abcd'"):
        Cut("pattern.1", keys="x").operation_in(prompt)
    with pytest.raises(TypeError, match="got keys=None; wanted an index"):
        Cut("pattern.1", keys=None)
    # the queries are still tokens
    with pytest.raises(TypeError, match="got tokens=2.5"):
        Cut("pattern.1", keys=0, tokens=2.5)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"site": "z.1", "keys": 0},
            "got a Cut at z.1; edges of attention are cut in its pattern: write for example 'pattern.10'",
        ),
        ({"site": "pattern.1", "keys": []}, "got no key for a Cut; say which tokens are no longer looked at"),
        (
            {"site": "pattern.1", "keys": 0, "steps": 1},
            "for a Cut, which acts on a prompt's own tokens: leave steps out",
        ),
    ],
)
def test_what_is_no_cut_is_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        Cut(**asked).check(HEADS)
