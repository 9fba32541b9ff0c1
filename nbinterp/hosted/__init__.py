"""Hosted models: the same experiments on a server that runs NDIF, a lab's own or the public one."""
