"""Ray's own command line, kept on loopback: ``python -m nbinterp.serving.node start ...``.

Told to be on 127.0.0.1, Ray looks for an address that others can reach, and opens its ports to all of them, unless it is
a Ray that forms no clusters (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, the default on Windows and macOS, whose firewalls would
ask). Then it is on loopback, and refuses a second node; here it takes one, so that two nodes can be tried on one machine.
"""

from __future__ import annotations

from ray._private import ray_constants, services
from ray.scripts.scripts import main

if __name__ == "__main__":
    if not ray_constants.ENABLE_RAY_CLUSTER:
        services.get_node_ip_address = lambda *_: "127.0.0.1"
        ray_constants.ENABLE_RAY_CLUSTER = True  # of this process only; those that it starts read the environment
    main()
