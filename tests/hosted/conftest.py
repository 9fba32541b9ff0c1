"""Every test here has configuration folders of its own, and no key nor server from the machine's environment."""

import pytest


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    from nnsight.schema.config import CONFIG

    from nbinterp.hosted import keys, versions
    from nbinterp.hosted.hosts import PUBLIC

    monkeypatch.setenv("NBINTERP_CONFIG", str(tmp_path / "nbinterp"))
    monkeypatch.setenv("NNSIGHT_CONFIG", str(tmp_path / "nnsight" / "config.yaml"))
    for name in ("NDIF_HOST", "NDIF_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(CONFIG.API, "HOST", PUBLIC.url)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    monkeypatch.setattr(keys, "_typed", {})
    monkeypatch.setattr(versions, "_environments", {})
    return tmp_path
