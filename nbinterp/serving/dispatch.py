"""The process that deploys the models and then hands out requests: ``python -m nbinterp.serving.dispatch``.

It is NDIF's dispatcher, which starts NDIF's controller first: both need a connection to Ray and seconds to load.
"""

from __future__ import annotations

import sys
import time

import ray
from ndif.common.providers.ray import NAMESPACE, RayProvider
from ndif.common.schema.controller import DeploymentConfig
from ndif.services.api.queue.dispatcher import Dispatcher
from ndif.services.ray.deployments.controller import controller

from nbinterp.serving.names import Service, model_name


def main() -> int:
    """Deploy, wait until all replicas have their weights, and dispatch; return 1 after a sentence on what failed."""
    service = Service.from_environment()
    connect()
    controller.app()
    handle = ray.get_actor("Controller", namespace=NAMESPACE)
    config = DeploymentConfig(pinned=True, replicas=service.replicas)
    response = ray.get(handle.deploy.remote(dict.fromkeys(service.keys, config)))
    for key, result in response.results.items():
        if result.error:
            print(f"got {model_name(key)!r}, which cannot be placed: {result.error.splitlines()[0]}")
            return 1
    try:
        ready(
            [f"{replica}:ModelActor:{key}" for key, result in response.results.items() for replica in result.replicas]
        )
    except ray.exceptions.RayError as error:
        print(error)  # all of it into the log; the sentence is its last line
        return 1
    Dispatcher.start()
    return 0


def connect() -> None:
    """Connect to Ray, which is started at the same time as this; if it fails, the main process ends this one."""
    while not ray.is_initialized():
        try:
            RayProvider.connect()
        except Exception:  # of many kinds, as far as it has come
            RayProvider.reset()
            time.sleep(0.2)


def ready(names: list[str]) -> None:
    """Wait until these actors have loaded their models; raise what one of them raised."""
    ray.get([ray.get_actor(name, namespace=NAMESPACE).__ray_ready__.remote() for name in names])


if __name__ == "__main__":
    sys.exit(main())
