"""What the endpoints of one application share."""

from dataclasses import dataclass

from fastapi import Request

from ovrcoat.server.image_store import ImageStore
from ovrcoat.server.metrics import Metrics
from ovrcoat.server.service import SegmentationService
from ovrcoat.server.settings import ServerSettings
from ovrcoat.server.worker import InferenceWorker


@dataclass(frozen=True, slots=True)
class State:
    """The parts of one application.

    Attributes:
        model: the name of the model.
        settings: limits and access rules.
        service: computes responses.
        worker: runs the service, one request at a time.
        images: encoded images.
        metrics: counts requests.
    """

    model: str
    settings: ServerSettings
    service: SegmentationService
    worker: InferenceWorker
    images: ImageStore
    metrics: Metrics


def server_state(request: Request) -> State:
    """Return the state of the application that handles a request."""
    state = request.app.state.server
    assert isinstance(state, State)
    return state
