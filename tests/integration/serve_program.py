"""Runs an application on a Ray of its own; each line of JSON on stdin replaces its arguments.

The key `options` holds options of the ingress deployment, `own` those of other models by name.
"""

from __future__ import annotations

import json
import os
import sys

from ernie_ray.environment import serve_environment

PORT = int(sys.argv[1])

for name, value in serve_environment().items():
    os.environ.setdefault(name, value)
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S="0.5",
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S="0.5",
    RAY_SERVE_HAPROXY_STATS_PORT=sys.argv[2],
    RAY_SERVE_HAPROXY_METRICS_PORT=sys.argv[3],
    RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=sys.argv[4],
)


def main() -> None:
    """Deploy whatever stdin says until it ends."""
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from ernie_ray.serving.args import ServiceArgs
    from ernie_ray.serving.deployment import build_app
    from ernie_ray.serving.haproxy import end_haproxies

    # The GPUs are logical: nothing here runs on one.
    ray.init(address="local", num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False)
    nodes = [node["NodeID"] for node in ray.nodes()]
    metrics_port = ray.nodes()[0]["MetricsExportPort"]
    try:
        serve.start(
            http_options=HTTPOptions(host="127.0.0.1", port=PORT),
            logging_config=LoggingConfig(enable_access_log=False),
        )
        for line in sys.stdin:
            told = json.loads(line)
            options = {"max_surge_percent": 1.0, **told.pop("options", {})}
            own = told.pop("own", {})
            app = build_app(ServiceArgs.model_validate(told), own, **options)
            serve.run(app, name="ernie-ray", route_prefix="/")
            sys.stdout.write(f"deployed {metrics_port}\n")
            sys.stdout.flush()
        serve.shutdown()
    finally:
        ray.shutdown()
        end_haproxies(nodes)


if __name__ == "__main__":
    main()
