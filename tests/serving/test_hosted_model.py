"""A model at a real server answers as the same model does here."""

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.hosted.connection import HostedError
from nbinterp.hosted.jobs import JobFailed
from tests.serving.fixtures import TINY

P, Q = "the quick brown fox jumps", "the quick white fox jumps"
OTHER = nb.Experiment(Q, [nb.Ablate("resid_post.0", tokens=0)])


@pytest.fixture(scope="module")
def near(tiny):
    return nb.Model.open(str(tiny), name=TINY)


@pytest.fixture(scope="module")
def far(ndif, tiny):
    with ndif.entered():
        yield nb.Model.open(str(tiny), name=TINY, host=ndif.url)


@pytest.fixture(scope="module")
def metric(near):
    # any two tokens
    first, second = near.tokens(P).tokens[-2:]
    return nb.logit_difference(first, second)


def numbers(frame):
    return frame.select_dtypes("number").to_numpy(dtype=float)


def test_it_is_the_same_model(near, far):
    assert far.info == near.info
    assert far.vocabulary == near.vocabulary
    assert far.sites().equals(near.sites())
    assert far.nnsight._module.device.type == "meta"


INTERVENTIONS = {
    "ablate": [nb.Ablate("resid_post.1", tokens=2)],
    "mean": [nb.Ablate("mlp_out.1", mean=[P, Q], tokens=1)],
    "resample": [nb.Ablate("attn_out.1", resample=[P, Q], tokens=1)],
    "patch": [nb.Patch("resid_post.1", source=Q, tokens=2)],
    "patch from a changed run": [nb.Patch("resid_post.1", source=OTHER, tokens=2)],
    "steer": [nb.Steer("resid_post.2", direction=np.arange(32.0), scale=0.1)],
    "scale": [nb.Scale("z.1.0", 0.5)],
    "cut": [nb.Cut("pattern.1.0", keys=0, tokens=-1)],
    "several": [nb.Ablate("mlp_post.0", tokens=1), nb.Scale("resid_mid.2", 2.0), nb.Ablate("logits", tokens=0)],
}


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_intervention_does_there_what_it_does_here(near, far, name):
    reads = ["resid_post.2", "z.1", "pattern.2", "logits"]
    here, there = (model.run(nb.Experiment([P, Q], INTERVENTIONS[name], read=reads)) for model in (near, far))
    np.testing.assert_allclose(there.logits, here.logits, atol=1e-4)
    np.testing.assert_allclose(there.base_logits, here.base_logits, atol=1e-4)
    for site in reads:
        for prompt in (0, 1):
            np.testing.assert_allclose(there.read(site, prompt), here.read(site, prompt), atol=1e-4)
    assert there.effects().round(3).equals(here.effects().round(3))
    assert not np.allclose(here.logits, here.base_logits)


METHODS = {
    "sweep": lambda m, d: m.sweep(
        P, lambda layer, token: nb.Ablate(f"resid_post.{layer}", tokens=token), metric=d, layer=range(3), token=range(4)
    ).values.to_numpy(),
    "gradients": lambda m, d: np.concatenate(
        [g.ravel() for g in m.gradients(nb.Experiment(P), metric=d, sites=["resid_post", "z.1"]).gradients.values()]
    ),
    "generate": lambda m, d: np.array(
        m.generate(
            nb.Experiment(P, [nb.Scale("resid_post.1", 3.0, steps="all")]), max_new_tokens=5, seed=1, temperature=0.5
        )
        .changed[0]
        .ids
    ),
    "stream": lambda m, d: np.array([token.id for token in m.stream(P, max_new_tokens=4)]),
    "collect": lambda m, d: (
        m.collect([P, Q, "the fox"], sites="resid_post", tokens="all", progress=False)
        .frame("resid_post.1")
        .select_dtypes("float")
        .to_numpy()
    ),
    "lens": lambda m, d: numbers(nb.logit_lens(m, P).frame()),
    "logit attribution": lambda m, d: numbers(nb.logit_attribution(m, P, d.tokens[0]).frame()),
    "attention": lambda m, d: numbers(nb.attention(m, P).frame()),
    "activation patching": lambda m, d: nb.activation_patching(
        m, P, Q, metric=d, sites="resid_pre", gate="ignore"
    ).values.to_numpy(),
    "patching by a divergence": lambda m, d: nb.activation_patching(
        m, P, Q, metric=nb.kl_divergence(), sites="z", gate="ignore"
    ).values.to_numpy(),
    "attribution patching": lambda m, d: numbers(nb.attribution_patching(m, P, Q, metric=d, gate="ignore").frame()),
    "circuit": lambda m, d: nb.circuit(m, [P], [Q], metric=d, gate="ignore").scores.to_numpy(),
    "perplexity": lambda m, d: np.array(nb.perplexity(m, [P, Q], interventions=nb.Ablate("attn_out.1")).value),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_there_what_it_says_here(near, far, metric, name):
    here, there = (METHODS[name](model, metric) for model in (near, far))
    assert here.size
    np.testing.assert_allclose(there, here, atol=1e-4, rtol=1e-4)


def test_a_metric_of_my_own_goes_along_with_what_it_uses(near, far):
    weights = np.linspace(0, 1, len(near.vocabulary))

    def weighted(logits, base):
        return float(weights @ (logits - base))

    here, there = (
        m.sweep(P, lambda layer: nb.Ablate(f"resid_post.{layer}", tokens=1), metric=weighted, layer=range(3)).values
        for m in (near, far)
    )
    np.testing.assert_allclose(there, here, atol=1e-3)


def test_a_result_verifies_itself_there(far):
    checks = far.run(nb.Experiment(P, nb.Ablate("resid_post.1", tokens=1))).verify()
    assert checks.passed
    assert [check.name for check in checks.checks] == [
        "resumed = full",
        "batched = alone",
        "padded = unpadded",
        "code = itself",
    ]


def test_a_job_is_found_again_by_its_id(near, far, ndif, tiny):
    experiment = nb.Experiment(P, nb.Ablate("resid_post.1", tokens=1))
    job = far.submit(experiment)
    again = nb.Model.open(str(tiny), name=TINY, host=ndif.url).attach(job.id, experiment)
    for one in (job, again):
        np.testing.assert_allclose(one.wait().logits, near.run(experiment).logits, atol=1e-4)
    assert repr(job) == f"Job('{job.id}' on {ndif.url}: completed, Your job has been completed.)"
    with pytest.raises(
        ValueError, match="which is on this machine; wanted a hosted model: call run, which answers at once"
    ):
        near.submit(experiment)


def test_what_raises_there_is_told_here(far):
    def wrong(logits, base):
        return float(logits[10**9])

    with pytest.raises(JobFailed, match="IndexError: index 1000000000 is out of bounds") as caught:
        far.sweep(P, lambda layer: nb.Ablate(f"resid_post.{layer}"), metric=wrong, layer=[0])
    assert "return float(logits[10**9])" in caught.value.report


def test_nothing_is_sent_for_what_cannot_be_done(far, monkeypatch):
    monkeypatch.setattr("nbinterp.hosted.engine.send", lambda *_: pytest.fail("something was sent"))
    with pytest.raises(ValueError, match="has 3 layers|has 4 layers"):
        far.run(nb.Experiment(P, nb.Ablate("resid_post.99")))
    opened = __import__("threading").Lock()
    with pytest.raises(TypeError, match="cannot be sent to a hosted model .*; wanted plain data"):
        far.sweep(
            P, lambda layer: nb.Ablate(f"resid_post.{layer}"), metric=lambda logits, base: opened.locked(), layer=[0]
        )


def test_waiting_can_be_given_up(far):
    with pytest.raises(KeyboardInterrupt):
        far.run(nb.Experiment(P, nb.Ablate("resid_post.1")), cancel=lambda: True)


def test_a_model_that_is_not_served(ndif, tiny):
    with ndif.entered(), pytest.raises((HostedError, JobFailed), match="this server serves"):
        nb.Model.open(str(tiny), name="another/model", host=ndif.url)


def test_a_server_that_is_not_there(tiny):
    with pytest.raises(HostedError, match="http://127.0.0.1:9"):
        nb.Model.open(str(tiny), host="http://127.0.0.1:9")
