"""A widget's state as JSON, and the page that shows it alone."""

from __future__ import annotations

import base64
import json
import re
from xml.etree import ElementTree

import altair as alt
import anywidget
import pandas as pd
import pytest
import traitlets

from nbinterp.widgets.saved import WIDGET_MIME, draw_png, draw_svg, origin_of, page, saved_bundle
from nbinterp.widgets.standalone import state_of

WICKED = "</script><!--<script>alert(1)</script>\u202e"


class View(anywidget.AnyWidget):
    _esm = "export default {}"
    text = traitlets.Unicode(WICKED).tag(sync=True)
    points = traitlets.Dict({"xy": b"\x00\xff", "n": [1, float("nan")], "name": ("a", None)}).tag(sync=True)
    private = traitlets.Int(3)


@pytest.fixture
def chart():
    return alt.Chart(pd.DataFrame({"x": [1]})).mark_point().encode(x="x:Q")


def test_state_is_what_the_widget_itself_syncs():
    state = json.loads(json.dumps(state_of(View()), allow_nan=False))
    assert state == {
        "text": WICKED,
        "points": {"xy": {"$bytes": base64.b64encode(b"\x00\xff").decode()}, "n": [1, None], "name": ["a", None]},
    }


def test_a_page_holds_nothing_that_ends_a_script_and_asks_for_nothing(chart, tmp_path):
    text = page(View(), "dial", tmp_path / "view.html", text=WICKED, chart=chart)
    assert (tmp_path / "view.html").read_text(encoding="utf-8") == text
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == text.count("<script") == text.count("</script") == 3
    assert json.loads(scripts[0])["text"] == WICKED
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert re.findall(r"(?:src|href)=(?![\"']data:)", text.split("<script")[0]) == []


def test_a_bundle_keeps_the_state_unless_it_is_large(chart):
    def kept(widget):
        return saved_bundle(None, "view", chart, "a view", widget=widget, origin=origin_of({"b": 1, "a": 2}))[0][
            WIDGET_MIME
        ]

    view = View()
    assert kept(view) == {"kind": "view", "origin": origin_of({"a": 2, "b": 1}), "state": state_of(view)}
    view.text = "x" * 500_000
    assert kept(view) == {"kind": "view"}
    assert kept(None) == {"kind": "view"}


def test_text_that_no_picture_can_hold_is_named_in_it():
    # a token may be any bytes; vl-convert ends the process at a control character
    words = ["\x00", "\x01", "\x1b[31m", "\ufffe", "\uffff", "\ud800", "\x7f", "\ufdd0", "a\tb\r\nc", "\U0001f600"]
    frame = pd.DataFrame({"a\x0b": words, "x": range(len(words))})
    chart = alt.Chart(frame, title="\x02").mark_text().encode(x="x:O", y=alt.Y("a\x0b:N", sort=words), text="a\x0b:N")
    spec = chart.to_dict()
    assert draw_png(spec).startswith(b"\x89PNG")
    drawn = draw_svg(spec)
    said = "".join(ElementTree.fromstring(drawn).itertext())
    for name in ("U+0000", "U+0001", "U+001B[31m", "U+FFFE", "U+FFFF", "U+D800", "U+0002", "aU+000B", "\U0001f600"):
        assert name in said, name
    assert chart.to_dict() == spec
