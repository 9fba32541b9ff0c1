import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.demo.prompts import months
from nbinterp.geometry import fit_manifold
from nbinterp.methods import steer_report
from nbinterp.prompts import TokenizedPrompt
from nbinterp.results import Vocabulary
from tests.geometry import planted

PROMPT = "After {} comes"
D = 32


class Toy:
    """A model whose answer is read off its activation in closed form: logit of a month = sharpness × how near it lies."""

    def __init__(self, centroids, centre, info, *, sharpness=8.0, says=1, deaf=False):
        self.info = info
        self.vocabulary = Vocabulary((*(f" {month}" for month in planted.MONTHS), " other"))
        self.seen = 0
        self._x = centroids + centre
        # what is said of a month is the month `says` later
        own = np.zeros_like(centroids) if deaf else np.roll(centroids, says, axis=0)
        self._readout = own * sharpness / (centroids**2).sum(axis=1).mean()
        self._centre = centre

    def tokens(self, prompt):
        words = re.findall(r" ?\S+", prompt)
        stops = np.cumsum([len(word) for word in words]).tolist()
        spans = tuple(zip([0, *stops[:-1]], stops, strict=True))
        return TokenizedPrompt(prompt, tuple(range(len(words))), tuple(words), spans)

    def run(self, experiments, *, cancel=None):
        self.seen += len(experiments)
        return [SimpleNamespace(probabilities=self._probabilities(experiment)) for experiment in experiments]

    def _probabilities(self, experiment):
        (prompt,) = experiment.prompts
        label = next(i for i, month in enumerate(planted.MONTHS) if f" {month} " in prompt)
        x = self._x[label].copy()
        for act in experiment.interventions:
            assert act.tokens.resolve(self.tokens(prompt)) == (1,)
            x += act.direction.vector
        logits = np.append(self._readout @ (x - self._centre), 0.0)
        weights = np.exp(logits - logits.max())
        return (weights / weights.sum())[None]


def toy(shape=None, *, harmonics=1, **settings):
    shape = planted.circle(12) if shape is None else shape
    cloud = planted.cloud_of(*planted.labelled(shape, noise=0.0, d_model=D))
    manifold = fit_manifold(cloud, "month", "template", harmonics=harmonics)
    found = manifold.centroids
    return Toy(found.points, found.centre, cloud.model, **settings), manifold


def test_a_circle_steers_a_model_that_reads_a_circle():
    model, circle = toy()
    report = steer_report(model, circle, PROMPT, expected=(*planted.MONTHS[1:], "January"), n_steps=6)
    frame = report.frame().set_index("method")
    assert frame.index.tolist() == ["manifold", "straight line", "mean swap", "random subspace", "no steering"]
    assert report.answers[:2] == (" February", " March")
    assert report.accuracy == 1
    assert frame.loc[["manifold", "straight line", "mean swap"], "hit_rate"].tolist() == [1, 1, 1]
    assert frame.loc["random subspace", "hit_rate"] < 0.2
    assert frame.loc["no steering", "hit_rate"] == 0
    # through the middle of the circle the model knows no month
    assert frame.loc["manifold", "energy"] < 0.2 * frame.loc["straight line", "energy"]
    assert frame.loc["manifold", "isometry"] > 0.9
    assert frame.loc["manifold", "length"] > frame.loc["straight line", "length"]
    assert all(reason.endswith("holds.") for reason in report.reasons)
    np.testing.assert_allclose(frame.loc["random subspace", "length"], frame.loc["straight line", "length"])


def test_distances_and_energies_are_the_closed_forms():
    model, circle = toy()
    report = steer_report(model, circle, PROMPT, n_steps=3)
    steps = report.steps
    one = steps.query("method == 'manifold' and source == 'January' and target == 'April'")
    np.testing.assert_allclose(one["moved"], 2 * 3 * np.sin(np.pi / 12) * np.array([1, 2, 3]), rtol=1e-6)
    # each step ends on a month, whose answer is the untouched one
    np.testing.assert_allclose(one["energy"], 0, atol=1e-6)
    assert one["said"].tolist() == [" March", " April", " May"]
    assert one["last"].tolist() == [False, False, True]
    logits = 8 * np.cos(2 * np.pi * np.arange(12) / 12)
    p = np.exp(logits) / np.exp(logits).sum()
    wanted = [np.arccos((np.sqrt(p) * np.sqrt(np.roll(p, k))).sum()) for k in (1, 2, 3)]
    np.testing.assert_allclose(one["distance"], wanted, atol=1e-6)
    np.testing.assert_allclose(one["label_mass"], np.exp(logits).sum() / (1 + np.exp(logits).sum()), rtol=1e-6)


def test_a_bent_circle_is_followed_by_more_harmonics_only():
    angles = 2 * np.pi * np.arange(12) / 12
    shape = 3 * np.column_stack([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)])
    model, twice = toy(shape, harmonics=2, sharpness=12)
    reports = [steer_report(model, twice.with_harmonics(k), PROMPT, n_steps=6).frame() for k in (1, 2)]
    energies = [frame.set_index("method").loc["manifold", "energy"] for frame in reports]
    assert energies[1] < 0.5 * energies[0]


def test_a_line_steers_too():
    shape = planted.arc(12, 250)
    cloud = planted.cloud_of(*planted.labelled(shape, noise=0.0, d_model=D))
    line = fit_manifold(cloud, "month", "template", topology="line", smoothing=0)
    model = Toy(line.centroids.points, line.centroids.centre, cloud.model, says=0, sharpness=20)
    frame = steer_report(model, line, PROMPT, n_steps=5).frame().set_index("method")
    assert frame.loc["manifold", "hit_rate"] > frame.loc["random subspace", "high"]


def test_pairs_can_be_drawn_and_repeat():
    model, circle = toy()
    one, other = (steer_report(model, circle, PROMPT, n_pairs=10, n_steps=2, n_random=1, seed=4) for _ in range(2))
    pd.testing.assert_frame_equal(one.steps, other.steps)
    assert len(one.ends().query("method == 'manifold'")) == 10
    assert len(one.ends().query("method == 'random subspace'")) == 10
    # what is the same is run once: 12 untouched, then two steps, one straight step, a mean swap, a random one; nothing once a source
    n_sources = one.steps["source"].nunique()
    assert model.seen == 2 * (12 + 10 * 5 + n_sources)


def test_a_way_in_one_step_has_no_energy_between_its_ends():
    model, circle = toy()
    report = steer_report(model, circle, PROMPT, n_steps=1)
    assert len(report.reasons) == 1
    assert "energy" not in report.reasons[0]


def test_it_says_what_it_found():
    model, circle = toy()
    report = steer_report(model, circle, PROMPT, n_steps=3)
    assert report.behaviour == (
        "untouched, the model gives 12 different answers to 12 prompts, and nobody said which are right; the label tokens hold "
        f"{report.label_mass:.0%} of the probability"
    )
    text = repr(report)
    assert text.startswith(
        f"SteerReport of month at {planted.SITE} of planted@000000000000: 132 pairs of 12 labels\n  'After {{}} comes': "
    )
    assert "132 ordered pairs, 3 steps a way, 3 random subspaces" in text
    assert report.chart().to_dict()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m, c: steer_report(m, c, "After March comes"),
            ValueError,
            "got the prompt 'After March comes'; wanted a text that holds '{}' once, where the label goes, for example "
            "'The month after {} is'.",
        ),
        (
            lambda m, c: steer_report(m, c, PROMPT, outputs=["January"] * 12),
            ValueError,
            "got the same output for two labels among "
            + repr(["January"] * 12)
            + "; wanted a token of its own for each.",
        ),
        (
            lambda m, c: steer_report(m, c, PROMPT, outputs=[f"{i}" for i in range(12)]),
            LookupError,
            "got '0', which is not a single token of this model; model.tokens('0') shows its tokens.",
        ),
        (
            lambda m, c: steer_report(m, c, PROMPT, expected=["March"]),
            ValueError,
            "got 1 expected answers for 12 labels; wanted one each.",
        ),
        (
            lambda m, c: steer_report(m, c, PROMPT, n_pairs=0),
            ValueError,
            "got n_pairs=0; wanted at least 1, or None for all.",
        ),
        (
            lambda m, c: steer_report(m, c, PROMPT, n_steps=0),
            ValueError,
            "got n_steps=0, n_random=3; wanted at least 1 of each.",
        ),
    ],
)
def test_bad_requests_get_one_sentence_before_the_model_runs(call, error, message):
    model, circle = toy()
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call(model, circle)
    assert model.seen == 0


def test_a_model_that_says_the_same_for_every_label_cannot_be_steered():
    model, circle = toy(deaf=True)
    with pytest.raises(
        ValueError, match=r"^got a prompt to which the model says ' January' whatever the month in 'After"
    ):
        steer_report(model, circle, PROMPT)


def test_a_manifold_of_another_model_is_refused():
    model, circle = toy()
    model.info = ModelInfo("other", "1" * 40, "Planted", 4, D, 10, "model.layers")
    with pytest.raises(ValueError, match="^got a Direction of the model planted@000000000000, used on other@"):
        steer_report(model, circle, PROMPT)


@pytest.mark.slow
def test_the_months_curve_steers_the_demo_model(model):
    cloud = model.collect(
        months.prompts(), sites=["resid_post.11"], tokens="last", labels=months.table(), progress=False
    )
    circle = fit_manifold(cloud, "month", "template")
    report = steer_report(model, circle, "The month after {} is", n_pairs=36, n_steps=4, n_random=2)
    frame = report.frame().set_index("method")
    assert frame.loc["manifold", "low"] > frame.loc["random subspace", "high"]
    assert frame.loc["manifold", "energy"] < frame.loc["straight line", "energy"]
    # what the report adds is what the curve as an intervention does
    source, target = report.ends().query("method == 'manifold'")[["source", "target"]].iloc[0]
    turn = nb.Rotate(
        circle.site,
        on=circle.loop,
        start=circle.angle_of(source),
        to=circle.angle_of(target),
        tokens=f" {source}",
    )
    result = model.run(nb.Experiment(f"The month after {source} is", turn))
    said = report.ends().query("method == 'manifold' and source == @source and target == @target")["said"].item()
    assert result.said([f" {month}" for month in months.labels])[0] == said
