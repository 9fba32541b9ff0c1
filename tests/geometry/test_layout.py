import re
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from scipy.sparse import csr_array

from nbinterp.geometry import forces, layout
from nbinterp.geometry.embedding import umap
from nbinterp.geometry.forces import advance, curve_of, decay, fuzzy_graph, start
from nbinterp.geometry.layout import SETTLED, UmapSession, warm_up
from nbinterp.geometry.neighbors import neighbor_graph, neighbours_kept
from tests.geometry import planted


def clusters(n=400, d=30, n_clusters=5, seed=0):
    rng = np.random.default_rng(seed)
    return 6 * rng.normal(size=(n_clusters, d)).repeat(n // n_clusters, axis=0) + rng.normal(size=(n, d))


@pytest.fixture(scope="module")
def graph():
    return neighbor_graph(clusters(), 50)


@pytest.fixture
def session(graph):
    with UmapSession(graph) as session:
        yield session


# the pieces


@pytest.mark.parametrize("min_dist", [0.0, 0.1, 0.5, 1.0])
def test_the_curve_falls_from_min_dist_on(min_dist):
    curve = curve_of(min_dist)
    at = np.array([0.01, min_dist + 1])
    np.testing.assert_allclose(1 / (1 + curve.a * at ** (2 * curve.b)), [1, np.exp(-1)], atol=0.06)


def test_memberships_sum_to_the_logarithm_of_the_neighbours():
    distances = np.sort(np.random.default_rng(0).uniform(1, 2, size=(50, 14)), axis=1)
    shares = forces.memberships(distances, 15, connected=True)
    np.testing.assert_allclose(shares.sum(axis=1), np.log2(15), atol=1e-3)
    assert (shares[:, 0] == 1).all()
    assert (np.diff(shares, axis=1) <= 0).all()


def test_the_fuzzy_graph_is_symmetric_and_its_strongest_edges_act_always(graph):
    fuzzy = fuzzy_graph(graph, 15)
    whole = csr_array((fuzzy.rates, fuzzy.indices, fuzzy.indptr), shape=(400, 400))
    assert abs(whole - whole.T).max() < 1e-6
    assert fuzzy.rates.max() == 1
    assert fuzzy.rates.min() >= 1 / forces.FINEST
    assert fuzzy.radii.mean() == pytest.approx(0, abs=1e-5)
    assert fuzzy.radii.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("n_neighbors", [5, 15, 40])
def test_curve_and_fuzzy_graph_are_those_of_umap_learn(graph, n_neighbors):
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set

    for min_dist in (0.0, 0.1, 0.8):
        curve = curve_of(min_dist)
        assert (curve.a, curve.b) == pytest.approx(find_ab_params(1.0, min_dist), rel=1e-4)
    points = graph.source.points
    itself = np.arange(len(points))[:, None]
    theirs = fuzzy_simplicial_set(
        points,
        n_neighbors,
        np.random.RandomState(0),
        "euclidean",
        knn_indices=np.hstack([itself, graph.indices[:, : n_neighbors - 1]]),
        knn_dists=np.hstack([0.0 * itself, graph.distances[:, : n_neighbors - 1]]),
    )[0].toarray()
    fuzzy = fuzzy_graph(graph, n_neighbors)
    ours = csr_array((fuzzy.rates, fuzzy.indices, fuzzy.indptr), shape=theirs.shape).toarray()
    theirs[theirs < theirs.max() / forces.FINEST] = 0
    np.testing.assert_allclose(ours * theirs.max(), theirs, atol=2e-3)


@pytest.mark.slow
def test_layouts_are_as_faithful_as_those_of_umap_learn(graph):
    from umap import UMAP

    points = graph.source.points
    theirs = UMAP(random_state=0, n_jobs=1).fit_transform(points.astype(np.float32))
    ours = umap(graph).layout
    assert neighbours_kept(graph, ours) == pytest.approx(neighbours_kept(graph, theirs), abs=0.03)
    # as wide and as tightly packed
    for measure in (lambda xy: np.sqrt(xy.var(axis=0).sum()), lambda xy: np.median(nearest_distance(xy))):
        assert measure(ours) == pytest.approx(measure(theirs), rel=0.5)


@pytest.mark.slow
def test_densmap_correlates_radii_as_well_as_umap_learn():
    from umap import UMAP

    rng = np.random.default_rng(0)
    points = np.concatenate([scale * rng.normal(size=(150, 10)) + 200 * i for i, scale in enumerate((1, 4, 16))])
    theirs = UMAP(random_state=0, n_jobs=1, densmap=True).fit_transform(points.astype(np.float32))
    graph = neighbor_graph(points, 15, max_norm_ratio=None)
    radius = np.log(graph.distances.mean(axis=1))

    def correlation(shown):
        near = np.linalg.norm(shown[graph.indices] - shown[:, None], axis=2).mean(axis=1)
        return np.corrcoef(np.log(near), radius)[0, 1]

    ours, plain = (umap(graph, densmap=dense).layout for dense in (True, False))
    assert correlation(ours) > correlation(theirs) - 0.05
    assert correlation(ours) > correlation(plain) + 0.1


def nearest_distance(xy):
    from scipy.spatial import cKDTree

    return cKDTree(xy).query(xy, 2)[0][:, 1]


def test_slices_change_no_bit(graph):
    fuzzy, curve = fuzzy_graph(graph, 15), curve_of(0.1)
    begun = start(graph, fuzzy, "pca", 0)
    alphas = decay(20)
    one = advance(begun, fuzzy, curve, alphas, seed=0, dense_from=10)
    half = advance(begun, fuzzy, curve, alphas[:9], seed=0, dense_from=10)
    sliced = advance(half, fuzzy, curve, alphas[9:], seed=0, first_epoch=9, dense_from=10)
    np.testing.assert_array_equal(one, sliced)
    assert (advance(begun, fuzzy, curve, alphas, seed=1) != one).any()


def test_a_pull_holds_points_at_their_anchors(graph):
    fuzzy, curve = fuzzy_graph(graph, 15), curve_of(0.1)
    begun = start(graph, fuzzy, "pca", 0)
    free, held, fast = (
        np.linalg.norm(advance(begun, fuzzy, curve, decay(50), seed=0, anchor=begun, pull=pull) - begun, axis=1).mean()
        for pull in (0.0, 0.3, 1.0)
    )
    assert fast < held < free


# the session


def test_a_session_shows_the_clusters_at_once_and_better_at_rest(session, graph):
    first = session.update()
    assert first.parameters["n_epochs"] == 50
    assert not session.settled or first is not session.embedding
    last = session.settle()
    assert session.settled
    assert last is session.embedding
    assert last.parameters == {"n_neighbors": 15, "min_dist": 0.1, "n_epochs": SETTLED, "seed": 0}
    fresh = umap(graph)
    assert last.faithfulness > fresh.faithfulness - 0.03
    assert first.faithfulness > 0.5 * fresh.faithfulness
    assert last.coordinates.shape == (400, 2)
    assert last.graph is graph


def test_a_change_starts_from_the_last_layout_and_is_as_faithful_as_a_fresh_one(session, graph):
    before = session.settle()
    first = session.update(min_dist=0.6)
    assert first.parameters["n_epochs"] == 30
    extent = np.sqrt(before.layout.var(axis=0).sum())
    moved = np.linalg.norm(first.layout - before.layout, axis=1).mean()
    assert 0 < moved < 0.5 * extent
    after = session.settle()
    assert after.parameters["min_dist"] == 0.6
    assert after.faithfulness > umap(graph, min_dist=0.6).faithfulness - 0.03
    assert np.median(nearest_distance(after.layout)) > np.median(nearest_distance(before.layout))
    session.update(n_neighbors=40)
    again = session.settle()
    assert again.parameters["min_dist"] == 0.6
    assert again.faithfulness > umap(graph, 40, 0.6).faithfulness - 0.03


def test_the_same_updates_give_the_same_pictures_to_the_bit(graph, monkeypatch):
    # so long that an update comes while the one before is moving
    monkeypatch.setattr(layout, "SETTLED", 400)

    def pictures():
        with UmapSession(graph, seed=3) as session:
            yield session.update()
            yield session.settle()
            yield session.update(n_neighbors=30)
            # cut short, wherever it was
            yield session.update(min_dist=0.4)
            yield session.settle()

    one, other = ([shown.layout for shown in pictures()] for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fast_slider_ends_with_the_newest(graph):
    frames = []
    with UmapSession(graph, on_frame=frames.append) as session:
        for step in range(30):
            shown = session.update(min_dist=step / 30)
            assert shown.parameters["min_dist"] == step / 30
        last = session.settle()
        assert last.parameters["min_dist"] == 29 / 30
        n_frames = len(frames)
        time.sleep(0.3)
        assert len(frames) == n_frames
    assert frames[-1] is last
    assert [f.parameters["min_dist"] for f in frames] == sorted(f.parameters["min_dist"] for f in frames)


def test_updates_from_many_threads_end_with_the_newest(graph):
    with UmapSession(graph) as session:
        returned = {}

        def move(step):
            returned[step] = session.update(min_dist=step / 10).parameters["min_dist"]

        threads = [threading.Thread(target=move, args=(step,)) for step in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(returned) == 10
        assert session.settle().parameters["min_dist"] == session._wanted.min_dist
        assert session._wanted.min_dist in returned.values()


def test_on_frame_may_update_and_may_fail(graph):
    def further(shown):
        if shown.parameters["min_dist"] < 0.3 and shown.parameters["n_epochs"] == SETTLED:
            session.update(min_dist=shown.parameters["min_dist"] + 0.1)

    with UmapSession(graph, min_dist=0.1, on_frame=further) as session:
        session.update()
        deadline = time.monotonic() + 60
        while not (session.settled and session._wanted.min_dist > 0.25) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert session.settle().parameters["min_dist"] == pytest.approx(0.3)

    def broken(shown):
        raise KeyError("mine")

    with (
        pytest.warns(UserWarning, match="on_frame failed; the layout goes on(.|\n)*KeyError: 'mine'"),
        UmapSession(graph, on_frame=broken) as session,
    ):
        assert session.settle().parameters["n_epochs"] == SETTLED


def test_settling_within_on_frame_is_refused(graph):
    said = []

    def wait(shown):
        with pytest.raises(
            RuntimeError,
            match="^got settle\\(\\) called from on_frame, for which the layout waits; call it elsewhere.$",
        ):
            session.settle()
        said.append(True)

    with UmapSession(graph, on_frame=wait) as session:
        session.settle()
    assert said


def test_a_failure_in_the_background_is_told(graph, monkeypatch):
    with UmapSession(graph) as session:
        session.settle()
        monkeypatch.setattr(UmapSession, "_show", lambda *args, **kwargs: 1 / 0)
        session.update(min_dist=0.3)
        with pytest.raises(RuntimeError, match="^the layout in the background failed; see the error above.$") as raised:
            session.settle()
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
        monkeypatch.undo()
        session.update(min_dist=0.2)
        assert session.settle().parameters["min_dist"] == 0.2


def test_closing_ends_the_background(graph):
    frames = []
    session = UmapSession(graph, on_frame=frames.append)
    first = session.update()
    thread = session._thread
    session.close()
    assert not thread.is_alive()
    n_frames = len(frames)
    time.sleep(0.1)
    assert len(frames) == n_frames
    assert session.settle() is session.embedding
    assert first.layout.shape == (400, 2)
    with pytest.raises(ValueError, match="^got an update for a closed UmapSession; make a new one.$"):
        session.update(min_dist=0.4)
    session.close()
    assert "closed" in repr(session)


def test_an_interpreter_that_exits_is_not_held_up():
    code = """
        import numpy as np
        import time
        from nbinterp.geometry import layout
        layout.SETTLED = 10**6
        session = layout.UmapSession(np.random.default_rng(0).normal(size=(2000, 5)))
        session.update()
        print("shown", flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "shown\n"
    assert done.stderr == ""


def test_the_background_leaves_the_interpreter_to_others():
    points = np.random.default_rng(0).normal(size=(4000, 5))
    with UmapSession(points) as session:
        session.update()
        ticks = 0
        while not session.settled:
            time.sleep(0.001)
            ticks += 1
        # one epoch of all points takes longer than this in a loop that holds the lock
        assert ticks > 20


def test_a_session_of_a_cloud_places_new_rows_and_sets_giants_aside():
    cloud = planted.months()
    rows = np.array(cloud.points)
    rows[5] *= 100
    with UmapSession(rows, n_neighbors=10) as session:
        assert session.transform(rows[:3]).shape == (3, 2)
        assert np.isnan(session.embedding.coordinates[5]).all()
        assert session.graph.k == 49
        assert "n_neighbors=10, min_dist=0.1" in repr(session)


def test_densmap_is_one_more_parameter(session):
    session.update(densmap=True)
    shown = session.settle()
    assert shown.method == "densmap"
    assert session.update(densmap=False).method == "umap"


def test_warming_up_compiles():
    thread = warm_up()
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s: s.update(n_neighbors=60),
            "got n_neighbors=60 for a graph of 50 neighbours; wanted at most 51: make the graph with a larger k.",
        ),
        (lambda s: s.update(n_neighbors=1), "got n_neighbors=1 for 400 rows; wanted at least 2 and fewer than rows."),
        (lambda s: s.update(min_dist=-0.1), "got min_dist=-0.1; wanted a number from 0 to 1."),
        (
            lambda s: UmapSession(np.ones((1, 5))),
            "got 1 usable row; wanted at least 2: collect more rows, or raise max_norm_ratio.",
        ),
        (lambda s: UmapSession(np.ones((30, 5))), "got 30 rows that are all equal; wanted rows that differ."),
        (lambda s: UmapSession(np.eye(8)), "got n_neighbors=15 for 8 rows; wanted at least 2 and fewer than rows."),
    ],
)
def test_bad_requests_get_one_sentence_and_change_nothing(session, call, message):
    before = session.settle()
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call(session)
    assert session.settled
    assert session.embedding is before
