"""What Python and the page must agree on."""

from __future__ import annotations

import json
import pathlib

import nbinterp
from nbinterp.widgets.protocol.typescript import typescript
from nbinterp.widgets.saved import WIDGET_MIME

JS = pathlib.Path(__file__).parents[2] / "js"


def test_typescript_is_generated_from_python():
    generated = (JS / "src" / "lib" / "protocol.ts").read_text()
    assert generated == typescript(), "run `python -m nbinterp.widgets.protocol > js/src/lib/protocol.ts`"


def test_one_version():
    package = json.loads((JS / "package.json").read_text())
    lock = json.loads((JS / "package-lock.json").read_text())
    assert package["version"] == lock["version"] == nbinterp.__version__


def test_lock_names_no_download_address():
    packages = json.loads((JS / "package-lock.json").read_text())["packages"]
    assert [name for name, entry in packages.items() if "resolved" in entry and not entry.get("link")] == []


def test_extension_looks_for_the_mime_type_that_python_writes():
    assert f"'{WIDGET_MIME}'" in (JS / "src" / "lab" / "ours.ts").read_text()
