"""What a page does, without a browser."""

from __future__ import annotations

import json

from nbinterp.widgets.playground.setting import copied

PROMPT = "The capital of France is"


def page(playground, *, gesture=1, **changes):
    """Change the setting as a page does."""
    now = playground.setting
    setting = copied(now, **changes, moment=now["moment"] + 1, gesture=now["gesture"] + gesture)
    playground.set_state({"setting": json.loads(json.dumps(setting))})
    return setting


def adds(playground, recipe, **changes):
    """Add an intervention as a page does."""
    found = next(r for r in playground.recipes if r["id"] == recipe)
    values = {p["name"]: p["start"] for p in found["parameters"]}
    texts = dict.fromkeys(found["texts"], "")
    act = {"id": f"page{len(playground.setting['acts'])}", "recipe": recipe, "on": True, "component": "resid_post"}
    act |= {"layer": 1, "head": -1, "tokens": "last", "steps": "all", "values": values, "texts": texts} | changes
    hand = next(iter(values), "")
    page(playground, acts=[*playground.setting["acts"], act], hand=act["id"], parameter=hand)
    return act["id"]


class Page:
    """Asks as a page does, and hears the answer."""

    def __init__(self, playground, monkeypatch):
        self.playground, self.heard = playground, []
        monkeypatch.setattr(playground, "send", lambda content, buffers=None: self.heard.append(content))

    def ask(self, what, **arguments):
        self.playground._handle_custom_msg({"ask": 7, "what": what, **arguments}, [])
        return self.heard[-1]
