"""How the widgets feel, measured in a real JupyterLab and a real Chromium: ``python -m benchmarks.ui``."""
