"""The playground's static picture: what is followed is always in it, and what has to be known stands above."""

from __future__ import annotations

from nbinterp.charts.playground import playground_chart


def answer(tracked, warnings=()):
    chances = [{"text": text, "base": 0.4, "changed": 0.3, "control": 0.4} for text in ("a", "b")]
    return {"candidates": chances, "tracked": [{"text": text} for text in tracked], "warnings": list(warnings)}


def curve(chances):
    series = [{"text": t, "base": p, "changed": [p, p], "control": [p, p]} for t, p in chances.items()]
    return {"values": [0.0, 1.0], "parameter": "scale", "series": series}


def drawn(tracked, chances):
    """Return the tokens whose curves are drawn."""
    spec = playground_chart(answer(tracked), curve(chances), title="t", value=0.5).to_dict()
    return spec["vconcat"][1]["layer"][0]["encoding"]["color"]["sort"]


def test_tracked_tokens_are_drawn_however_unlikely():
    chances = {f"t{i}": 0.9 / (i + 1) for i in range(9)} | {"rare": 1e-6}
    assert drawn(["rare", "t8", "unknown"], chances) == ["rare", "t8", "t0", "t1", "t2", "t3"]
    assert drawn([], chances) == [f"t{i}" for i in range(6)]
    assert drawn([f"t{i}" for i in range(8)], chances) == [f"t{i}" for i in range(8)]


def test_what_has_to_be_known_stands_below_the_title_in_lines_that_fit():
    warning = "Scale at resid_post.1, at ' France', changed nothing there: its factor is 1. " * 3
    title = playground_chart(answer([], [warning, "short"]), None, title="x " * 100).to_dict()["title"]
    assert [line for line in title["subtitle"] if line.startswith("! ")] == [title["subtitle"][0], "! short"]
    assert max(map(len, [*title["subtitle"], *title["text"]])) <= 100
    assert playground_chart(answer([]), None, title="t").to_dict()["title"]["subtitle"] == []
