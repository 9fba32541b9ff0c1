import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.clouds import Cloud
from nbinterp.geometry import Exploration, ExplorationStopped, Report, pca, persistence, prepare, significance
from tests.geometry.planted import circle, cloud_of, frame_of, info, labelled


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
    # two families, loops and clusters, and in each the same draws for all sites: as many as for one site
    assert frame["p_adjusted"].min() == pytest.approx(2 * frame["p"].min())
    assert {test.n_null for test in report["resid_post.2"].loops.values()} == {199}


def test_a_report_draws_itself():
    table = pd.DataFrame({"month": ["May", "June"] * 50})
    cloud = Cloud.from_arrays({"resid_post.1": ring(100), "resid_post.2": gaussian(100)}, table, info(60))
    drawn = nb.explore(cloud, progress=False).chart("month").to_dict()
    assert len(drawn["vconcat"]) == 2
    assert "config" in drawn


@pytest.fixture(scope="module")
def of_months():
    """Months on a circle, asked about without their order, with two columns that centring within templates takes away."""
    rows, labels, templates = labelled(circle(12), n_groups=20)
    asked = {"template": templates, "tense": templates % 2, "month": labels.astype(str)}
    return nb.explore(rows, asked, within=templates, progress=False)


def test_labels_with_their_order_are_called_curved_and_without_it_multi_dimensional(of_months):
    rows, labels, groups = labelled(circle(12), n_groups=20)
    asked, cycles = {"month": labels.astype(str)}, {"month": [str(i) for i in range(12)]}
    given = nb.explore(rows, asked, cycles=cycles, within=groups, progress=False)
    assert given.encoding.frame()["place"].tolist() == ["curved"]
    assert of_months.encoding.frame()["place"].tolist() == ["multi-dimensional"]


def test_few_rows_are_told_so():
    report = nb.explore(gaussian(30), progress=False)
    assert any("30" in sentence for sentence in report.unsaid)
    assert not report.frame()["found"].any()


def test_the_same_rows_at_many_sites_are_one_look():
    rows = ring(120)
    table = pd.DataFrame({"text": ["t"] * 120})
    sites = {f"resid_post.{i}": (1 + i) * rows for i in range(4)}
    alone = nb.explore(rows, progress=False).frame()
    all_of_them = nb.explore(Cloud.from_arrays(sites, table, info(60)), progress=False).frame()
    for question, p in alone[alone["p"].notna()].set_index("question")["p_adjusted"].items():
        of_sites = all_of_them.loc[all_of_them["question"] == question, "p_adjusted"]
        np.testing.assert_allclose(of_sites, of_sites.iloc[0])
        if p == pytest.approx(0.01):
            np.testing.assert_allclose(of_sites, p)


def test_a_row_that_is_set_aside_at_one_site_is_left_out_at_all():
    wild = gaussian(120, seed=1)
    wild[7] *= 50
    table = pd.DataFrame({"text": ["t"] * 120})
    cloud = Cloud.from_arrays({"resid_post.1": gaussian(120), "resid_post.2": wild}, table, info(60))
    report = nb.explore(cloud, progress=False)
    assert [len(report[site].prepared.rows) for site in report.sites] == [119, 119]
    assert "1 set aside as at other sites" in report["resid_post.1"].prepared.provenance


def test_rows_that_are_equal_at_one_site_only_are_drawn_by_themselves():
    rows = gaussian(100)
    twins = gaussian(100, seed=1)
    twins[50:] = twins[:50]
    table = pd.DataFrame({"text": ["t"] * 100})
    cloud = Cloud.from_arrays({"embed": twins, "resid_post.1": rows}, table, info(60))
    report = nb.explore(cloud, progress=False)
    assert not report.frame()["found"].any()
    assert [test.n_points for test in report["embed"].loops.values()] == [50] * len(report["embed"].loops)
    # four families instead of two
    tested = report.frame().dropna(subset="p").query("p_adjusted < 1")
    assert (tested["p_adjusted"] >= 4 * tested["p"] - 1e-9).all()


def stopped_after(n, cloud, **options):
    asked = iter([False] * n)
    with pytest.raises(ExplorationStopped, match=r"exception's \.partial") as stopped:
        nb.explore(cloud, progress=False, cancel=lambda: next(asked, True), **options)
    assert not stopped.value.partial.finished
    assert "stopped before all was asked" in repr(stopped.value.partial)
    return stopped.value.partial


def test_a_stopped_exploration_keeps_what_it_has():
    table = pd.DataFrame({"text": ["t"] * 100})
    cloud = Cloud.from_arrays({"resid_post.1": gaussian(100), "resid_post.2": gaussian(100, seed=1)}, table, info(60))
    early = stopped_after(2, cloud)
    assert list(early.sites) == ["resid_post.1"]
    assert early["resid_post.1"].loops == {}
    assert set(early.frame()["question"]) == {"dimension"}
    assert len(early.chart().to_dict()["vconcat"]) == 1
    assert stopped_after(0, cloud).sites == {}


def test_draws_that_were_made_are_judged_when_it_is_stopped():
    partial = stopped_after(150, ring())
    (test, *_) = partial[""].loops.values()
    assert test.n_null == 99
    assert partial.frame()["question"].str.startswith("loops").any()
    # 99 draws are too few for a finding after correction
    assert not partial.frame()["found"].any()


def test_texts_of_the_table_are_data_in_html():
    rows, labels, _ = labelled(circle(4), n_groups=12)
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
        (
            {"attributes": {"a": [0, 1] * 25}, "cycles": {"b": [0]}},
            "got the order of 'b', which is not among attributes: a.",
        ),
        ({"attributes": {"a": [0, 1] * 25}, "cycles": {"a": [0, 2]}}, "got an order without the label 1"),
    ],
)
def test_bad_requests_get_one_sentence(more, message):
    with pytest.raises((ValueError, LookupError), match=message):
        nb.explore(gaussian(50), progress=False, **more)


def test_what_rows_were_centred_within_cannot_be_asked_about(of_months):
    assert set(of_months.encoding.frame()["attribute"]) == {"month"}
    lost = "so that its values have no means left to tell apart"
    assert of_months.unsaid[:2] == (
        f"where template stands: it has one value in each of the groups, within which rows were centred, {lost}.",
        f"where tense stands: it has one value in each of the groups, within which rows were centred, {lost}.",
    )


def test_the_column_that_rows_were_centred_within_is_said_by_its_name():
    rows, labels, templates = labelled(circle(12), n_groups=6)
    cloud = cloud_of(rows, labels, templates)
    report = nb.explore(cloud, ["template"], within="template", progress=False)
    assert report.encoding is None
    assert not report.frame()["question"].str.startswith("attribute").any()
    assert report.unsaid[0].startswith("where template stands: rows were centred within it, so that")
    # nobody asked about it: nothing is said
    by_itself = nb.explore(cloud, within="template", progress=False)
    assert not any("template stands" in sentence for sentence in by_itself.unsaid)
    assert set(by_itself.encoding.frame()["attribute"]) == {"month"}


def test_labels_that_no_fold_can_hold_out_are_said():
    rows, _, _ = labelled(circle(12), n_groups=6)
    one = np.where(np.arange(72) == 5, "here", "there")
    report = nb.explore(rows, {"where": one}, progress=False)
    assert report.unsaid[0].startswith("where where stands: got the label 'here' in a single row")
    assert report.encoding is None


def test_labels_in_an_order_that_bend_are_curved():
    rows, labels, groups = labelled(
        np.column_stack([np.linspace(-3, 3, 8), np.linspace(-1, 1, 8) ** 2 * 3]), n_groups=20
    )
    order = [str(i) for i in range(8)]
    report = nb.explore(rows, {"rank": labels.astype(str)}, orders={"rank": order}, within=groups, progress=False)
    assert report.encoding.frame()[["place", "shape", "kind"]].to_numpy().tolist() == [
        ["curved", "bent line", "regression"]
    ]


@pytest.fixture(scope="module")
def of_many_sites():
    one = prepare(gaussian(60), 2)
    loops = {2: significance(persistence(one), n_null=99)}
    sites = {f"resid_post.{i}": Exploration(one, pca(one), None, loops, None, None) for i in range(8)}
    lines = []
    for i, site in enumerate(sites):
        found = i in (1, 2, 3, 5)
        answer = f"month is {'curved' if found else 'not surely there'} at {site}"
        lines.append((site, "attribute month", answer, found, 0.1, 0.001 * i if found else 0.5 + 0.01 * i))
        lines.append(
            (site, "loops in 2 principal components", f"no loops in 2 principal components at {site}", False, 1.0, 1.0)
        )
    columns = ["site", "question", "answer", "found", "p", "p_adjusted"]
    return Report(pd.DataFrame(lines, columns=columns), sites, None, (), 0.01, True, "made by hand")


def test_answers_of_many_sites_are_told_in_one_line(of_many_sites):
    told = of_many_sites.summary()
    assert told["answer"].tolist() == [
        "month is curved",
        "month is not surely there",
        "no loops in 2 principal components",
    ]
    assert told["where"].tolist() == [
        "resid_post.1 to resid_post.3, resid_post.5",
        "resid_post.0, resid_post.4, resid_post.6, resid_post.7",
        "all 8 sites",
    ]
    assert told["n_sites"].tolist() == [4, 4, 8]
    # the least sure of what was found, the surest of what was not
    assert told["p_adjusted"].tolist() == [0.005, 0.5, 1.0]
    assert "  month is curved at resid_post.1 to resid_post.3, resid_post.5 (p ≤ 0.005)\n" in repr(of_many_sites)
    assert "<li>no loops in 2 principal components at all 8 sites (p = 1)</li>" in of_many_sites.to_html()


def test_a_chart_of_many_sites_draws_some_and_says_so(of_many_sites):
    drawn = of_many_sites.chart().to_dict()["vconcat"]
    titles = [row["title"]["text"] for row in drawn]
    assert titles[:2] == ["resid_post.0 (6 of 8 sites are drawn)", "resid_post.1"]
    assert len(titles) == 6
    # a colour means a month in the picture, and a kind of class in the diagram
    assert all(row["resolve"]["scale"] == {"color": "independent", "shape": "independent"} for row in drawn)
    (only,) = of_many_sites.chart(sites=["resid_post.5"]).to_dict()["vconcat"]
    assert only["title"]["text"] == "resid_post.5 (1 of 8 sites are drawn)"
    with pytest.raises(
        LookupError, match=r"^got the site 'resid_post\.9', which was not asked about; known are resid_post\.0, "
    ):
        of_many_sites.chart(sites=["resid_post.9"])
