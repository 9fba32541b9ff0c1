import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.clouds import Cloud
from nbinterp.geometry import ExplorationStopped
from tests.geometry.planted import circle, frame_of, info, labelled


def ring(n=400, d=60, noise=0.35, seed=0):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    return 3 * np.column_stack([np.cos(angles), np.sin(angles)]) @ frame_of(d, 2, seed) + noise * rng.normal(
        size=(n, d)
    )


def gaussian(n=400, d=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)) * [5, 4, 3, 2, 2] @ frame_of(d, 5, seed) + 0.4 * rng.normal(size=(n, d))


def test_a_planted_circle_is_found_and_gets_angles():
    report = nb.explore(ring(), progress=False)
    loops = report.found[report.found["question"].str.startswith("loops")]
    assert len(loops)
    assert (loops["p_adjusted"] <= 0.01).all()
    assert report[""].coordinates is not None
    assert "1 loop" in repr(report)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_found_where_nothing_is(seed):
    report = nb.explore(gaussian(seed=seed), progress=False)
    assert not report.frame()["found"].any()
    assert repr(report).startswith("Report: nothing here")
    assert report[""].coordinates is None


def test_clusters_are_found_and_named():
    rng = np.random.default_rng(0)
    middles = 6 * rng.normal(size=(3, 40))
    which = np.repeat(np.arange(3), 60)
    table = pd.DataFrame({"language": np.array(["en", "de", "fr"])[which]})
    cloud = Cloud.from_arrays({"resid_post.1": middles[which] + rng.normal(size=(180, 40))}, table, info(40))
    report = nb.explore(cloud, progress=False)
    assert report.found["question"].tolist().count("clusters") == 1
    assert report["resid_post.1"].clusters.n_clusters == 3
    assert "attribute language" in set(report.found["question"])


def test_all_sites_are_asked_and_corrected_together():
    table = pd.DataFrame({"text": [f"t{i}" for i in range(300)]})
    cloud = Cloud.from_arrays({"resid_post.1": gaussian(300), "resid_post.2": ring(300)}, table, info(60))
    report = nb.explore(cloud, progress=False)
    frame = report.frame()
    assert set(frame["site"]) == {"resid_post.1", "resid_post.2"}
    assert set(report.found["site"]) == {"resid_post.2"}
    tested = frame["p"].notna()
    assert (frame.loc[tested, "p_adjusted"] >= frame.loc[tested, "p"]).all()
    # the surest p is multiplied by all that was asked
    assert frame["p_adjusted"].min() == pytest.approx(frame["p"].min() * tested.sum())


def test_a_report_draws_itself():
    table = pd.DataFrame({"month": ["May", "June"] * 100})
    cloud = Cloud.from_arrays({"resid_post.1": ring(200), "resid_post.2": gaussian(200)}, table, info(60))
    drawn = nb.explore(cloud, progress=False).chart("month").to_dict()
    assert len(drawn["vconcat"]) == 2
    assert "config" in drawn


def test_labels_with_their_order_are_called_curved_and_without_it_multi_dimensional():
    rows, labels, groups = labelled(circle(12), n_groups=20)
    asked = {"month": labels.astype(str)}
    given = nb.explore(rows, asked, cycles={"month": [str(i) for i in range(12)]}, within=groups, progress=False)
    assert given.encoding.frame()["place"].tolist() == ["curved"]
    left_out = nb.explore(rows, asked, within=groups, progress=False)
    assert left_out.encoding.frame()["place"].tolist() == ["multi-dimensional"]


def test_few_rows_are_told_so():
    report = nb.explore(gaussian(30), progress=False)
    assert any("30" in sentence for sentence in report.unsaid)
    assert not report.frame()["found"].any()


def test_a_stopped_exploration_keeps_what_it_has():
    table = pd.DataFrame({"text": ["t"] * 100})
    cloud = Cloud.from_arrays({"resid_post.1": gaussian(100), "resid_post.2": gaussian(100, seed=1)}, table, info(60))
    asked = iter([False] * 7 + [True] * 9)
    with pytest.raises(ExplorationStopped, match=r"exception's \.partial") as stopped:
        nb.explore(cloud, progress=False, cancel=lambda: next(asked))
    partial = stopped.value.partial
    assert list(partial.sites) == ["resid_post.1"]
    assert not partial.finished
    assert "stopped before all was asked" in repr(partial)


def test_texts_of_the_table_are_data_in_html():
    rows, labels, _ = labelled(circle(4), n_groups=30)
    report = nb.explore(rows, {"<script>alert(1)</script>": labels.astype(str)}, progress=False)
    assert "<script>" not in report.to_html()
    assert "&lt;script&gt;" in report.to_html()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"alpha": 0}, "got alpha=0; wanted a number between 0 and 1"),
        ({"picture": "tsne"}, "got picture='tsne'; choose from pca, umap"),
        ({"sites": ["resid_post.1"]}, "for an array, which has none"),
        ({"attributes": ["month"]}, "got month='month', which is no column of the table"),
    ],
)
def test_bad_requests_get_one_sentence(more, message):
    with pytest.raises((ValueError, LookupError), match=message):
        nb.explore(gaussian(50), progress=False, **more)
