import json

import attrs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nbinterp.anatomy import ModelInfo
from nbinterp.experiment import Experiment, Generation
from nbinterp.interventions import Ablate, Patch, Rotate, Scale, Steer
from nbinterp.prompts import Chat
from nbinterp.spaces import Direction, Plane
from nbinterp.tokens import Chosen
from tests.test_interventions import interventions, sites
from tests.test_tokens import prompts

generations = st.builds(
    Generation,
    st.integers(1, 99),
    st.floats(0, 2),
    st.none() | st.integers(1, 50),
    st.none() | st.floats(0.01, 1),
    st.integers(0, 9),
    st.lists(st.text(min_size=1), max_size=2),
)
experiments = st.builds(
    Experiment,
    st.lists(prompts, min_size=1, max_size=3),
    st.lists(interventions(), max_size=4),
    st.lists(sites, max_size=3),
    generation=st.none() | generations,
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


@settings(deadline=None)
@given(experiments, st.data())
def test_moving_there_and_back_changes_nothing(experiment, data):
    assume(experiment.interventions)
    n = len(experiment.interventions)
    index, to = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-n, n - 1))
    moved = experiment.moved(index, to)
    assert moved.interventions[to] == experiment.interventions[index]
    assert moved.moved(to, index) == experiment
    assert experiment.moved(index, index) == experiment


@settings(deadline=None)
@given(experiments, st.data())
def test_toggling_twice_changes_nothing(experiment, data):
    assume(experiment.interventions)
    index = data.draw(st.integers(0, len(experiment.interventions) - 1))
    toggled = experiment.toggled(index)
    assert toggled.toggled(index) == experiment
    assert toggled != experiment
    was, now = experiment.interventions[index], toggled.interventions[index]
    assert attrs.evolve(now, enabled=was.enabled) == was
    assert abs(len(toggled.active) - len(experiment.active)) == 1
    assert set(experiment.active) == {act for act in experiment.interventions if act.enabled}


@settings(deadline=None)
@given(experiments, interventions())
def test_a_replaced_intervention_stands_in_its_place(experiment, act):
    for index, old in enumerate(experiment.interventions):
        changed = experiment.replaced(index, act)
        assert changed.interventions[index] == act
        assert changed.replaced(index, old) == experiment


@settings(deadline=None)
@given(experiments, st.data())
def test_diff_is_empty_exactly_for_equals(experiment, data):
    other = data.draw(st.just(experiment) | experiments)
    stack = list(experiment.interventions)
    reordered = Experiment(
        experiment.prompts, data.draw(st.permutations(stack)), experiment.read, None, experiment.generation
    )
    for one in (other, reordered):
        assert (experiment.diff(one) == {}) == (experiment == one)
        assert one.diff(experiment) == {name: (b, a) for name, (a, b) in experiment.diff(one).items()}


A, B, C = Ablate("z.1"), Scale("z.1", 2.0), Ablate("z.2")
OFF = attrs.evolve(B, enabled=False)


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        ([A, B], [A], ((B,), ())),
        ([A, B, C], [A, OFF, C], ((B,), (OFF,))),
        ([A, B, C], [C, A, B], ((A, B, C), (C, A, B))),
        ([A, B], [B, A, C], ((A, B), (B, A, C))),
        ([A, A], [A], ((A,), ())),
        ([A, B], [C, A], ((B,), (C,))),
    ],
)
def test_diff_says_how_stacks_differ(mine, theirs, wanted):
    assert Experiment("a", mine).diff(Experiment("a", theirs)) == {"interventions": wanted}


def test_a_list_of_messages_is_one_chat():
    chat = [{"role": "user", "content": "Hello"}]
    assert Experiment(chat).prompts == (Chat(chat),)
    assert Experiment([chat, "text", Chat(chat)]).prompts == (Chat(chat), "text", Chat(chat))
    assert Experiment("text").prompts == ("text",)


def test_an_earlier_format_is_read():
    old = {
        "nbinterp": 1,
        "prompts": ["The capital of France is"],
        "interventions": [{"kind": "Ablate", "site": "resid_post.1", "tokens": [-1], "mean": None}],
        "read": ["resid_post.2"],
        "model": None,
    }
    wanted = Experiment("The capital of France is", Ablate("resid_post.1", tokens=-1), "resid_post.2")
    assert Experiment.from_json(json.dumps(old)) == wanted
    # the second one had steps, switches and generations, and no amounts
    old["interventions"][0] |= {"steps": None, "enabled": False, "resample": None, "seed": 0}
    assert Experiment.from_json(json.dumps(old | {"nbinterp": 2, "generation": None})) == wanted.toggled(0)


def test_an_experiment_can_hold_one_that_holds_one(info):
    inner = Experiment("a", Patch("resid_post.0", source=Experiment("b", Ablate("resid_post.0"))))
    outer = Experiment("c", Patch("resid_post.1", source=inner), generation=Generation(3))
    assert Experiment.from_json(outer.to_json()) == outer
    bound = outer.on(info)
    assert bound.interventions[0].source.model == info
    assert bound.interventions[0].source.interventions[0].source.model == info
    assert Experiment.from_json(bound.to_json()) == bound
    assert bound.on(info) == bound


def test_steps_need_no_generation():
    assert Experiment("a", Ablate("z.1", steps="all")).generation is None


def test_the_fingerprint_tells_experiments_apart():
    a = Experiment("a", [A, B])
    others = [a.moved(0, 1), a.toggled(0), a.without(0), Experiment("b", [A, B]), Experiment("a", [A, B], "z.1")]
    others.append(Experiment("a", [A, B], generation=Generation()))
    assert len({one.fingerprint for one in [a, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Experiment(""),
            ValueError,
            "got an empty text as the prompt; wanted text with at least one token.",
        ),
        (
            lambda: Experiment(["a", ""]),
            ValueError,
            "got an empty text as prompt 1; wanted text with at least one token.",
        ),
        (lambda: Experiment([]), ValueError, "got no prompt; wanted at least one text or chat."),
        (
            lambda: Experiment(["a", 3]),
            TypeError,
            "got prompt 1 of type int; wanted text, an nb.Chat, or a list of messages such as {'role': 'user', 'content': 'Hello'}.",
        ),
        (
            lambda: Experiment("a", generation=50),
            TypeError,
            "got a generation of type int; wanted for example nb.Generation(max_new_tokens=50).",
        ),
        (
            lambda: Experiment("a").replaced(0, Ablate("resid_post.1")),
            IndexError,
            "got the index 0 of an intervention; this experiment has 0: add one with with_(…).",
        ),
        (
            lambda: Experiment("a", Ablate("resid_post.1")).replaced(0, "b"),
            TypeError,
            "got an intervention of type str; wanted for example nb.Steer(…).",
        ),
        (
            lambda: Experiment("a", [Ablate("resid_post.1")] * 2).moved(0, 2),
            IndexError,
            "got the index 2 of an intervention; this experiment has 2: choose from -2 to 1.",
        ),
        (
            lambda: Experiment("a", [Ablate("resid_post.1")] * 2).toggled(-3),
            IndexError,
            "got the index -3 of an intervention; this experiment has 2: choose from -2 to 1.",
        ),
        (
            lambda: Experiment("a", Ablate("z.1", tokens=Chosen(len))).to_json(),
            TypeError,
            "got tokens that the function 'len' chooses, which cannot be saved; choose them by index, slice, text, regex or role instead.",
        ),
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
            lambda: Experiment("a", Ablate("resid_post.1"), Ablate("resid_post.2")),
            TypeError,
            "got Ablate as what to read; wanted sites: give several interventions as a list, nb.Experiment(prompt, [first, second]).",
        ),
        (
            lambda: Experiment.from_json("{"),
            ValueError,
            "got text that is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); wanted what Experiment.to_json() wrote.",
        ),
        (
            lambda: Experiment.from_json("{}"),
            ValueError,
            "got JSON that is not an nbinterp experiment of format 1 to 3; wanted what Experiment.to_json() wrote.",
        ),
        (
            lambda: Experiment.from_json('{"nbinterp": 4}'),
            ValueError,
            "got JSON that is not an nbinterp experiment of format 1 to 3; wanted what Experiment.to_json() wrote.",
        ),
        (
            lambda: Experiment.from_json('{"nbinterp": 2, "prompts": ["a"], "read": []}'),
            ValueError,
            "got an nbinterp experiment without interventions, model; wanted what Experiment.to_json() wrote.",
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "got max_new_tokens=0 in a Generation; wanted a whole number from 1 up."),
        ({"max_new_tokens": None}, "got max_new_tokens=None in a Generation; wanted a whole number from 1 up."),
        ({"max_new_tokens": True}, "got max_new_tokens=True in a Generation; wanted a whole number from 1 up."),
        ({"top_k": 2.5}, "got top_k=2.5 in a Generation; wanted a whole number from 1 up."),
        ({"seed": -1}, "got seed=-1 in a Generation; wanted a whole number from 0 up."),
        ({"temperature": -0.1}, "got temperature=-0.1 in a Generation; wanted a finite number from 0 up."),
        ({"temperature": np.nan}, "got temperature=nan in a Generation; wanted a finite number from 0 up."),
        ({"temperature": np.inf}, "got temperature=inf in a Generation; wanted a finite number from 0 up."),
        ({"temperature": "1"}, "got temperature='1' in a Generation; wanted a finite number from 0 up."),
        ({"top_p": 0}, "got top_p=0 in a Generation; wanted a number above 0, at most 1."),
        ({"top_p": 1.1}, "got top_p=1.1 in a Generation; wanted a number above 0, at most 1."),
        ({"stop": ["a", ""]}, "got stop=['a', ''] in a Generation; wanted texts that are not empty."),
        ({"stop": ""}, "got stop='' in a Generation; wanted texts that are not empty."),
    ],
)
def test_a_generation_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match="^got") as caught:
        Generation(**settings)
    assert str(caught.value) == message


def test_one_text_to_stop_at_is_one_text():
    assert Generation(stop="end").stop == ("end",)
    assert Generation(temperature=1) == Generation(temperature=1.0)


def test_code_needs_a_model_that_is_open(info):
    saved = Experiment.from_json(Experiment("a").on(info).to_json())
    with pytest.raises(ValueError, match=r"^got an experiment that no model has run; run it .*\.$"):
        saved.to_code()
