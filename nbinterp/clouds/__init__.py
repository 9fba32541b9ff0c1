"""Clouds: many activations with a table of what each row is, in memory or in a folder, written batch by batch."""

from nbinterp.clouds.cloud import Cloud
from nbinterp.clouds.writer import CloudWriter

__all__ = ["Cloud", "CloudWriter"]
