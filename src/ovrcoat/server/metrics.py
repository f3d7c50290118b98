"""Metrics for Prometheus: requests, latency, queue and memory. Each application has its own registry."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovrcoat.server.image_store import ImageStore
from ovrcoat.server.worker import InferenceWorker

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """The metrics of one application."""

    def __init__(self, *, worker: InferenceWorker, images: ImageStore) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "ovrcoat_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self.latency = Histogram(
            "ovrcoat_request_seconds",
            "Time until the response was sent, by route.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        gauges = (
            ("ovrcoat_queue_depth", "Requests that are waiting or computed.", lambda: worker.admitted),
            ("ovrcoat_cache_bytes", "Memory of the encoded images.", lambda: images.bytes),
            ("ovrcoat_cache_images", "Number of encoded images.", lambda: len(images)),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class RequestMetrics:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted_send)
        finally:
            # the pattern of the route, not the path: ids would create endless series
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - start)
