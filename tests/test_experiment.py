import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp import Ablate, Direction, Experiment, Loop, Match, Patch, Plane, Rotate, Steer
from nbinterp.spaces import ModelInfo

sites = st.integers(0, 3).map(lambda layer: f"resid_post.{layer}")
tokens = st.one_of(
    st.integers(-5, 5),
    st.lists(st.integers(-5, 5), min_size=1, max_size=3),
    st.builds(slice, st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3)),
    st.text(min_size=1, max_size=5),
    st.builds(Match, st.text(min_size=1, max_size=5), st.none() | st.integers(1, 3)),
)
angles = st.floats(-10, 10)


@st.composite
def interventions(draw):
    site, at = draw(sites), draw(tokens)
    vector = np.array(draw(st.lists(st.floats(-10, 10), min_size=3, max_size=3)))
    loop = Loop(site, None, vector, vector[None], vector[None] + 1)
    plane = Plane(site, None, vector, np.eye(3)[:2])
    return draw(
        st.sampled_from(
            [
                Ablate(site, tokens=at),
                Ablate(site, tokens=at, mean=vector),
                Steer(site, direction=vector, scale=draw(angles), tokens=at),
                Patch(site, source="other text", tokens=at, source_tokens=draw(st.none() | tokens)),
                Rotate(site, on=loop, to=draw(angles), start=draw(st.none() | angles), tokens=at),
                Rotate(site, on=plane, by=draw(angles), tokens=at),
            ]
        )
    )


experiments = st.builds(
    Experiment,
    st.lists(st.text(min_size=1), min_size=1, max_size=3),
    st.lists(interventions(), max_size=4),
    st.lists(sites, max_size=3),
)


@settings(deadline=None)
@given(experiments)
def test_json_gives_the_same_experiment_back(experiment):
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment
    assert hash(again) == hash(experiment)
    assert again.fingerprint == experiment.fingerprint
    assert experiment.diff(again) == {}
    json.loads(experiment.to_json(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


@settings(deadline=None)
@given(experiments, interventions())
def test_with_and_without_undo_each_other(experiment, act):
    longer = experiment.with_(act)
    assert longer.interventions[-1] == act
    assert longer.without(-1) == experiment
    assert experiment.interventions == Experiment(experiment.prompts, experiment.interventions).interventions


def test_diff_says_what_differs():
    a = Experiment("x", Ablate("resid_post.1"))
    b = a.with_(Steer("resid_post.2", direction=np.ones(3)))
    assert a.diff(b) == {"interventions": ((), (b.interventions[1],))}
    assert set(a.diff(Experiment(["x", "y"], Ablate("resid_post.1"), read="resid_post.0"))) == {"prompts", "read"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Experiment(""), ValueError, "got an empty prompt at index 0; wanted text with at least one token."),
        (lambda: Experiment([]), ValueError, "got no prompt; wanted at least one text."),
        (lambda: Experiment(["a", 3]), TypeError, "got prompt 1 of type int; wanted text."),
        (
            lambda: Experiment("a", ["steer"]),
            TypeError,
            "got an intervention of type str; wanted for example nb.Steer(…).",
        ),
        (
            lambda: Experiment("a", Ablate("resid_post.1")).without(3),
            LookupError,
            "got 3 to leave out, but this experiment has 1 interventions and it is not one of them.",
        ),
        (
            lambda: Experiment("a").to_code(),
            ValueError,
            "got an experiment that no model has run; run it (run.experiment.to_code()) or bind it with experiment.on(model.info).",
        ),
        (
            lambda: Experiment.from_json("{"),
            ValueError,
            "got text that is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); wanted what Experiment.to_json() wrote.",
        ),
        (
            lambda: Experiment.from_json("{}"),
            ValueError,
            "got JSON that is not an nbinterp experiment of format 1; wanted what Experiment.to_json() wrote.",
        ),
        (
            lambda: Steer("resid_post.1", direction=np.ones(3), scale=float("nan")),
            ValueError,
            "got scale=nan; wanted a finite number.",
        ),
        (
            lambda: Patch("resid_post.1", source=""),
            ValueError,
            "got source='' in a Patch; wanted the text of a prompt to take the activation from.",
        ),
        (
            lambda: Rotate("resid_post.1", on=np.ones(3), by=1.0),
            TypeError,
            "got on=ndarray in a Rotate; wanted a Plane or a Loop, for example circle.loop.",
        ),
        (
            lambda: Rotate("resid_post.1", on=Plane("resid_post.1", None, np.zeros(3), np.eye(3)[:2])),
            ValueError,
            "got by=None and to=None in a Rotate; give one of the two, in radians.",
        ),
        (
            lambda: Rotate("resid_post.1", on=Plane("resid_post.1", None, np.zeros(3), np.eye(3)[:2]), by=1, start=0),
            ValueError,
            "got a start for a Rotate in a Plane, where the projection says it: leave start out, or turn on a Loop.",
        ),
    ],
)
def test_what_is_no_experiment_is_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert caught.value.args[0] == message


OTHER = ModelInfo("other", "xyz", "LlamaForCausalLM", n_layers=4, d_model=3, n_vocab=10, blocks="model.layers")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ablate("resid_post.4"), "got layer 4 in 'resid_post.4'; toy has 4 layers: choose 0 to 3."),
        (
            lambda: Steer("resid_post.1", direction=np.ones(5)),
            "got a Direction with 5 features at resid_post.1; toy has 3 there.",
        ),
        (
            lambda: Steer("resid_post.1", direction=Direction("resid_post.2", None, np.ones(3))),
            "got a Direction found at resid_post.2, used at resid_post.1: find one there, or say that you mean it with .at('resid_post.1').",
        ),
        (
            lambda: Rotate("resid_post.1", on=Plane("resid_post.1", OTHER, np.zeros(3), np.eye(3)[:2]), by=1),
            "got a Plane of the model other@xyz, used on toy@abc: find one in the model that you run.",
        ),
        (
            lambda: Ablate("resid_post.1", mean=np.ones(4)),
            "got a Direction with 4 features at resid_post.1; toy has 3 there.",
        ),
    ],
)
def test_what_this_model_cannot_do_is_refused_before_it_runs(info, make, message):
    with pytest.raises(ValueError, match="^got") as caught:
        Experiment("a", make()).on(info)
    assert str(caught.value) == message


def test_a_layer_to_read_is_checked(info):
    with pytest.raises(ValueError, match="got layer 9 in 'resid_post.9'; toy has 4 layers: choose 0 to 3."):
        Experiment("a", read="resid_post.9").on(info)
