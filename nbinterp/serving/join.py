"""Another machine for a server that runs: a node of Ray there, and replicas of its models on that node."""

from __future__ import annotations

import sys

import ray

from nbinterp.serving.names import Service, model_name

NAMESPACE = "NDIF"


def main(address: str, node: str, replicas: str) -> int:
    """Ask the server's controller for replicas on this node, and wait until they have their weights."""
    ray.init(address=address, namespace=NAMESPACE, logging_level="error")
    controller = ray.get_actor("Controller", namespace=NAMESPACE)
    added = ray.get(controller.extend.remote(node, int(replicas), Service.from_environment().device))
    for key, _, error in added:
        if error:
            print(f"got {model_name(key)!r}, which cannot be placed here: {error.splitlines()[0]}")
            return 1
    try:
        ray.get([ray.get_actor(name, namespace=NAMESPACE).__ray_ready__.remote() for _, name, _ in added])
    except ray.exceptions.RayError as error:
        print(error)
        return 1
    print(", ".join(sorted({model_name(key) for key, _, _ in added})))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
