"""Many requests at once, clients that leave, and the end of the process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from http_server import MakeClient, wait_until
from ovrcoat.cli import main

REQUEST = {"vocabulary": "cat; sofa"}


def test_more_requests_than_the_queue_holds_are_refused_and_none_is_lost(serving: MakeClient, jpeg: bytes):
    with serving(queue_size=1) as client:

        def send(number: int) -> httpx.Response:
            files = {"image": ("a.jpg", jpeg)}
            return client.post("/v1/segment", files=files, data={"request": json.dumps(REQUEST)})

        with ThreadPoolExecutor(10) as pool:
            responses = list(pool.map(send, range(20)))
        statuses = [response.status_code for response in responses]
        assert set(statuses) == {200, 429}
        refused = next(response for response in responses if response.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"
        assert client.get("/ready").json()["queue"] == 0


def test_time_limit(serving: MakeClient, jpeg: bytes):
    with serving(request_seconds=0.5) as client:
        worker = client.app.state.server.worker
        release = threading.Event()
        worker._executor.submit(release.wait, 20)  # the worker is busy
        response = client.post("/v1/images", files={"image": ("a.jpg", jpeg)})
        release.set()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "time_limit")
        assert wait_until(lambda: client.get("/ready").json()["queue"] == 0)


def test_a_waiting_request_of_a_client_that_leaves_is_canceled(serving: MakeClient, jpeg: bytes):
    with serving() as client:
        worker, images = client.app.state.server.worker, client.app.state.server.images
        release = threading.Event()
        worker._executor.submit(release.wait, 20)
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            head = "POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
            connection.sendall(f"{head}Content-Length: {len(jpeg)}\r\n\r\n".encode() + jpeg)
            assert wait_until(lambda: worker.admitted == 1)
        assert wait_until(lambda: worker.admitted == 0)
        release.set()
        assert client.get("/health").status_code == 200
        assert len(images) == 0
        assert 'status="499"' in client.get("/metrics").text


def start_process(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start `ovrcoat serve` on a free port; return the process and the URL that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ovrcoat", "serve", "--port", "0", "--device", "cpu", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "ovrcoat serves nano at http://127.0.0.1:" in line
    return process, line.split()[4]


def test_sigterm_finishes_the_running_request():
    from skimage import data

    process, url = start_process()
    try:
        import io

        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(data.chelsea()).resize((3_000, 2_000)).save(buffer, format="JPEG")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                httpx.post,
                f"{url}/v1/segment",
                files={"image": ("a.jpg", buffer.getvalue())},
                data={"request": json.dumps({"vocabulary": "coco"})},
                timeout=60,
            )
            end = time.monotonic() + 20
            while httpx.get(f"{url}/ready").json()["queue"] == 0 and time.monotonic() < end:
                assert not running.done()
            process.send_signal(signal.SIGTERM)
            response = running.result()
        assert response.status_code == 200
        assert response.json()["width"] == 3_000
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "stopped\n")
    finally:
        process.kill()
        process.communicate()


def test_refusals_of_the_command(capsys, monkeypatch):
    monkeypatch.delenv("OVRCOAT_TOKEN", raising=False)
    refused = {
        ("--host", "0.0.0.0"): "needs a token: set the environment variable OVRCOAT_TOKEN",
        ("--token", "two words"): "the token contains spaces",
        ("--queue-size", "-1"): "--queue-size is -1, expected 0 or more",
        ("--max-pixels", "0"): "--max-pixels is 0, expected 1 or more",
        ("--request-seconds", "nan"): "--request-seconds is nan, expected 1 or more",
        ("--host", "no.such.host.invalid", "--token", "x"): "there is no address 'no.such.host.invalid'",
        ("--port", "99999"): "the port is 99999, expected 0 to 65535",
        ("--model", "nothing", "--port", "0"): "unknown model 'nothing'",
    }
    for arguments, message in refused.items():
        assert main(["serve", *arguments]) == 2
        assert message in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err
