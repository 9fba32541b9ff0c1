"""The demo: a small real model that can be had offline, and concepts to look for in it."""
