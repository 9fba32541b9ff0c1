"""Widgets: anywidget classes that show a result and take the hand; compute comes in as a callable."""
