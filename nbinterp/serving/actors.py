"""What Ray's workers load: NDIF's own actors, told where a model lies and that there may be no GPU.

NDIF names its actors in settings (``NDIF_MODEL_IMPORT_PATH``, ``NDIF_CONTROLLER_IMPORT_PATH``); these are set to the
ones here. Requests, queues, statuses and limits of time are NDIF's.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
import torch
from ndif.common.providers.redis import RedisProvider
from ndif.common.redis import EVENT_RECONCILE, EVENTS_STREAM
from ndif.common.schema.controller import DeploymentConfig, DeployResponse, ModelDeployResult
from ndif.services.ray.deployments.controller import controller as controlling
from ndif.services.ray.deployments.controller.cluster import cluster as placing
from ndif.services.ray.deployments.controller.cluster.evaluator import CacheEntry, ModelEvaluator
from ndif.services.ray.deployments.modeling.base import BaseModelDeployment
from nnsight.modeling.huggingface import HuggingFaceModel
from nnsight.modeling.mixins.remotable import Remotable

from nbinterp.serving.names import Service, model_name

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE = "nbinterp-"
"""How the names of nodes begin: two nodes on one machine have one address, but each its own name."""


def _living_nodes(**_: Any) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            node_id=node["NodeID"],
            node_name=next(key[5:] for key in node["Resources"] if key.startswith(f"node:{NODE}")),
            resources_total=node["Resources"],
            labels=node["Labels"],
        )
        for node in ray.nodes()
        if node["Alive"] and "GPU" in node["Resources"]
    ]


def _living_actors(**_: Any) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(name=actor["name"], state="ALIVE") for actor in ray.util.list_named_actors(all_namespaces=True)
    ]


# NDIF asks Ray's dashboard for these two. Ray's core knows them as well, and without the dashboard ten processes and a port
# are spared
placing.list_nodes = _living_nodes
controlling.list_actors = _living_actors


class _Absent:
    """A finder that hides nbinterp, as it is absent from other servers: what runs here runs there."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "nbinterp":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class ModelOnGPU(BaseModelDeployment):  # type: ignore[misc]
    """NDIF's actor, which loads a model from its folder on this machine."""

    model_key: str

    def load_from_disk(self) -> Any:
        """Load the weights, and hide nbinterp from what clients send."""
        key: str = self.model_key
        self.model_key = Service.from_environment().located(key)
        try:
            return self.load()
        finally:
            self.model_key = key
            for module in [name for name in sys.modules if name.partition(".")[0] == "nbinterp"]:
                del sys.modules[module]
            sys.meta_path.insert(0, _Absent())

    def load(self) -> Any:
        """Load the weights from the place in `model_key`."""
        return super().load_from_disk()


class ModelOnCPU(ModelOnGPU):
    """The same without a GPU; nothing can be parked, since the weights are in the machine's memory already."""

    CACHEABLE = False

    def load(self) -> Any:
        """Load the weights into the machine's memory."""
        # NDIF calls it after each request, and a build of torch without CUDA refuses
        torch.cuda.synchronize = lambda *_, **__: None
        torch.set_num_threads(Service.from_environment().threads)
        model = HuggingFaceModel.from_model_key(
            self.model_key, dispatch=True, dtype=self.dtype_name, device="cpu", **self.kwargs
        )
        model._module.requires_grad_(False)
        return model


class _Evaluator(ModelEvaluator):  # type: ignore[misc]
    """Sizes of models, from their folders on this machine."""

    def _entry(self, model_key: str, dtype: Any, trust_remote_code: bool) -> CacheEntry:
        known = self.cache.get(model_key)
        if known is not None and known.dtype == dtype:
            return known
        key = Service.from_environment().located(model_key)
        described = Remotable.describe_checkpoint(key, dtype)
        if described.config is not None:
            described.config._name_or_path = model_name(model_key)  # what NDIF's status calls it
        entry = CacheEntry(
            described.size_bytes,
            described.n_params,
            described.config,
            described.revision,
            dtype,
            trust_remote_code,
            Remotable.max_tp_size(key),
        )
        self.cache[model_key] = entry
        return entry


class _Controller(controlling._ControllerActor):  # type: ignore[misc]
    """NDIF's controller, which serves what it was asked to serve and fetches nothing that a client names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        evaluator = self.cluster.evaluator
        self.cluster.evaluator = _Evaluator(
            evaluator.padding_factor, evaluator.padding_bias, evaluator.tp_model_actor_class
        )

    def _deploy(self, deployments: Any) -> DeployResponse:
        served = Service.from_environment().keys
        wanted = DeploymentConfig.normalize(deployments)
        if all(key in served for key in wanted):
            return super()._deploy(wanted)
        names = ", ".join(model_name(key) for key in served)
        return DeployResponse(
            results={
                key: ModelDeployResult(error=f"got the model {key}; this server serves {names}.") for key in wanted
            }
        )

    def extend(self, node: str, replicas: int, device: str) -> Sequence[tuple[str, str | None, str | None]]:
        """Add replicas of each model on one node; return the key, the actor's name or why there is none."""
        ours = Service.from_environment().device
        if device != ours:
            return [("", None, f"this server's models run on {ours}; give --device {ours}.")]
        self.cluster.update_nodes()
        nodes = self.cluster.nodes
        self.cluster.nodes = {key: value for key, value in nodes.items() if value.name == node}
        try:
            config = DeploymentConfig(pinned=True, replicas=replicas, dtype=self.default_dtype)
            response = self.cluster.deploy(dict.fromkeys(Service.from_environment().keys, config))
        finally:
            self.cluster.nodes = nodes
        self.apply()
        for key in response.results:
            RedisProvider.sync_client.xadd(EVENTS_STREAM, {"event_type": EVENT_RECONCILE, "model_key": key})
        return [
            (key, f"{replica}:ModelActor:{key}", result.error)
            for key, result in response.results.items()
            for replica in result.replicas or [None]
        ]


# Parts of a CPU, so that the controller and several models fit on a machine of two. Ray pickles by reference what has
# another name than its actor
_SMALL = {"num_cpus": 0.1, "max_restarts": -1}
GPUActor = ray.remote(**_SMALL)(ModelOnGPU)
CPUActor = ray.remote(**_SMALL)(ModelOnCPU)
Controller = ray.remote(**_SMALL, num_gpus=0, resources={"head": 1})(_Controller)
