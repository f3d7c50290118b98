"""Bad input gets a status below 500, a code and a sentence; and the server goes on."""

import base64
import io
import json
import socket
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from http_server import MakeClient, wait_until

REQUEST = {"vocabulary": "cat; sofa"}


def error_of(response: httpx.Response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert "Traceback" not in error["message"]
    assert len(error["message"]) > 10
    return error


def png_with_size(width: int, height: int) -> bytes:
    """The head of a PNG that states a size, and few pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def upload(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post("/v1/images", files={"image": ("a.png", content)})


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        ((60_000, 60_000), 413, "image_too_large"),  # beyond Pillow's own limit
        ((10_000, 10_000), 413, "image_too_large"),  # beyond the server's
        ((2**31 - 1, 2**31 - 1), 413, "image_too_large"),
        ((100, 100), 422, "invalid_image"),  # the pixels are missing
    ],
)
def test_bombs_and_huge_dimensions(client: httpx.Client, size: tuple[int, int], status: int, code: str):
    assert error_of(upload(client, png_with_size(*size)), status)["code"] == code


def test_a_real_bomb(client: httpx.Client):
    buffer = io.BytesIO()
    Image.new("L", (9_000, 9_000)).save(buffer, format="PNG")  # 81 megapixels in less than 100 kB
    assert len(buffer.getvalue()) < 100_000
    assert error_of(upload(client, buffer.getvalue()), 413)["code"] == "image_too_large"


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff" + b"x" * 1000, b"%!PS-Adobe-3.0"]
)
def test_damaged_and_mistyped_files(client: httpx.Client, content: bytes):
    assert error_of(upload(client, content), 422)["code"] == "invalid_image"


def test_truncated_image(client: httpx.Client, jpeg: bytes):
    assert "truncated or damaged" in error_of(upload(client, jpeg[: len(jpeg) // 2]), 422)["message"]


def test_truncated_form(client: httpx.Client, jpeg: bytes):
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    response = client.post(
        "/v1/images", content=head + jpeg, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert error_of(response, 422)["code"] == "invalid_form"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/html", 415),
        ("application/json", 415),
        ("", 415),
        ("multipart/form-data", 422),  # no boundary
        ("multipart/form-data; boundary=é".encode("latin-1").decode("latin-1"), 422),
    ],
)
def test_wrong_content_type(client: httpx.Client, content_type: str, status: int):
    headers = {"content-type": content_type.encode("latin-1")}
    error_of(client.post("/v1/images", content=b"{}", headers=headers), status)


def test_forms_without_image_or_request(client: httpx.Client, jpeg: bytes):
    other = client.post("/v1/segment", files={"photo": ("a.jpg", jpeg)})
    assert error_of(other, 422)["code"] == "image_missing"
    text = client.post("/v1/segment", data={"image": "/etc/passwd"}, files={"x": ("a", b"")})
    assert error_of(text, 422)["code"] == "image_missing"
    alone = client.post("/v1/segment", files={"image": ("a.jpg", jpeg)})
    assert error_of(alone, 422)["code"] == "request_missing"
    many = client.post("/v1/segment", files=[("image", ("a.jpg", jpeg))] * 3)
    assert error_of(many, 422)["code"] == "invalid_form"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"vocabulary": 1}',
        '{"vocabulary": "cat", "trust": NaN}',
        "[" * 100_000,
        '"\\ud800"',
    ],
)
def test_malformed_json(client: httpx.Client, jpeg: bytes, image_id: str, text: str):
    form = client.post("/v1/segment", files={"image": ("a.jpg", jpeg)}, data={"request": text})
    assert error_of(form, 422)["code"] in ("invalid_request", "request_missing")
    headers = {"content-type": "application/json"}
    body = client.post(f"/v1/images/{image_id}/segment", content=text, headers=headers)
    assert error_of(body, body.status_code)["code"] in ("invalid_request", "bad_request")
    assert body.status_code in (400, 422)
    predict = client.post("/v1/predict", content=text, headers=headers)
    assert error_of(predict, 422)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "change",
    [
        {"trust": float("nan")},
        {"trust": float("inf")},
        {"trust": -0.1},
        {"trust": "0.5"},
        {"object_mask_threshold": float("nan")},
        {"overlap_threshold": -1},
        {"score_threshold": 0.5},  # not of a panoptic request
        {"task": "other"},
        {"masks": "bmp"},
        {"unknown": 1},
        {"\ud800": 1},
        {"vocabulary": ""},
        {"vocabulary": []},
        {"vocabulary": [{"name": "cat", "file": "/etc/passwd"}]},
        {"vocabulary": "cat\x00dog"},
        {"vocabulary": ["cat\u202edog"]},
        {"vocabulary": "cat; cat"},
        {"background": "\x07"},
    ],
    ids=str,
)
def test_values_that_are_not_valid(client: httpx.Client, image_id: str, change: dict[str, Any]):
    content = json.dumps(REQUEST | change)
    response = client.post(
        f"/v1/images/{image_id}/segment", content=content, headers={"content-type": "application/json"}
    )
    assert error_of(response, 422)["code"] in ("invalid_request", "invalid_vocabulary", "invalid_option")


@pytest.mark.parametrize("separator", [";", ","])
def test_a_megabyte_of_class_names(client: httpx.Client, image_id: str, separator: str):
    names = separator.join(f"name {number}" for number in range(80_000))[:1_000_000]
    response = client.post(f"/v1/images/{image_id}/segment", json={"vocabulary": names})
    assert error_of(response, 422)["code"] == "too_many_class_names"
    more = client.post(f"/v1/images/{image_id}/segment", json={"vocabulary": names * 2})
    assert error_of(more, 413)["code"] == "body_too_large"
    some = separator.join(f"name {number}" for number in range(2_001))
    response = client.post(f"/v1/images/{image_id}/segment", json={"vocabulary": some})
    # with commas, all are synonyms of one class, of which a vocabulary allows fewer
    assert error_of(response, 422)["code"] == (
        "too_many_class_names" if separator == ";" else "invalid_vocabulary"
    )
    long = client.post(f"/v1/images/{image_id}/segment", json={"vocabulary": "x" * 201})
    assert error_of(long, 422)["code"] == "class_name_too_long"


def test_no_path_is_opened(client: httpx.Client, image_id: str, tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("cat\n")
    for change in ({"vocabulary": str(secret)}, {"vocabulary": [str(secret)]}, {"background": str(secret)}):
        answer = (
            client.post(f"/v1/images/{image_id}/segment", json=REQUEST | change).raise_for_status().json()
        )
        names = [one["category"] for segment in answer["segments"] for one in segment["top"]]
        if "vocabulary" in change:
            assert "cat" not in names  # the path itself is a class name, of which nothing is found
    for image in (str(secret), "file:///etc/passwd", "http://127.0.0.1:1/a.jpg"):
        response = client.post("/v1/predict", json={"model": "nano", "image": image})
        assert error_of(response, 422)["code"] == "invalid_image"


@pytest.mark.parametrize("id", ["unknown", "%2e%2e%2fapp", "a" * 65, "é", "%00"])
def test_unknown_ids(client: httpx.Client, id: str):
    response = client.post(f"/v1/images/{id}/segment", json=REQUEST)
    assert response.status_code in (404, 405, 422)
    error_of(response, response.status_code)


def test_uploads_and_bodies_are_limited_while_they_are_read(serving: MakeClient, jpeg: bytes):
    with serving(max_upload_bytes=10_000, max_request_bytes=1_000, max_pixels=1_000) as client:
        assert error_of(upload(client, jpeg), 413)["code"] == "image_too_large"
        assert error_of(upload(client, bytes(200_000)), 413)["code"] == "body_too_large"

        def endless() -> Any:
            for _ in range(100):
                yield bytes(10_000)

        headers = {"content-type": "image/jpeg"}
        chunked = client.post("/v1/images", content=endless(), headers=headers)
        assert error_of(chunked, 413)["code"] == "body_too_large"
        encoded = base64.b64encode(bytes(200_000)).decode()
        predict = client.post("/v1/predict", json={"model": "nano", "image": encoded})
        assert error_of(predict, 413)["code"] == "body_too_large"


def test_token(serving: MakeClient, jpeg: bytes):
    with serving(token="secret") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}, {"token": "é"}):
            encoded = {name: value.encode() for name, value in headers.items()}
            for path in ("/v1/models", "/metrics", "/v1/vocabularies"):
                response = client.get(path, headers=encoded)
                assert error_of(response, 401)["code"] == "token_invalid"
                assert response.headers["www-authenticate"] == "Bearer"
        for headers in ({"authorization": "Bearer secret"}, {"Token": "secret"}):
            assert client.get("/v1/models", headers=headers).status_code == 200


def test_foreign_hosts_and_origins(serving: MakeClient, client: httpx.Client):
    rebound = client.get("/v1/models", headers={"host": "evil.example:8000"})
    assert error_of(rebound, 403)["code"] == "host_not_allowed"
    for origin in ("https://evil.example", "null", "http://["):
        foreign = client.get("/v1/models", headers={"origin": origin})
        assert error_of(foreign, 403)["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in foreign.headers
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    assert client.get("/v1/models", headers={"origin": own}).status_code == 200
    with serving(allowed_origins=("https://good.example",), token="secret") as other:
        headers = {"origin": "https://good.example", "access-control-request-method": "POST"}
        assert other.options("/v1/segment", headers=headers).status_code == 200
        allowed = other.get("/v1/models", headers={"origin": "https://good.example", "token": "secret"})
        assert allowed.headers["access-control-allow-origin"] == "https://good.example"


def test_images_expire_and_make_room(serving: MakeClient, jpeg: bytes):
    with serving(cache_seconds=0.2) as client:
        id = upload(client, jpeg).json()["id"]
        images = client.app.state.server.images
        assert wait_until(lambda: len(images) == 0)
        assert images.bytes == 0
        response = client.post(f"/v1/images/{id}/segment", json=REQUEST)
        assert error_of(response, 404)["code"] == "image_not_found"
    with serving(cache_bytes=1_000) as client:
        assert error_of(upload(client, jpeg), 413)["code"] == "image_too_large_to_store"


def test_slow_uploads_end(serving: MakeClient):
    with (
        serving(request_seconds=0.3) as client,
        socket.create_connection((client.base_url.host, client.base_url.port)) as connection,
    ):
        connection.sendall(
            b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: 99\r\n\r\nx"
        )
        connection.settimeout(10)
        reply = connection.recv(10_000)
        assert b" 408 " in reply.splitlines()[0]
        assert b"upload_too_slow" in reply or b"upload_too_slow" in connection.recv(10_000)


def test_a_client_that_stops_reading_blocks_nobody(client: httpx.Client, image_id: str):
    body = json.dumps({"vocabulary": "coco", "masks": "polygons"}).encode()
    request = (
        f"POST /v1/images/{image_id}/segment HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        stalled.connect((client.base_url.host, client.base_url.port))
        stalled.sendall(request * 20)
        response = client.post(f"/v1/images/{image_id}/segment", json=REQUEST)
        assert response.status_code in (200, 429)
        assert wait_until(lambda: client.get("/ready").json()["queue"] == 0)
        assert client.post(f"/v1/images/{image_id}/segment", json=REQUEST).status_code == 200


def test_no_temporary_file_is_written(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[object] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *args, **options: opened.append(args))
    buffer = io.BytesIO()
    Image.effect_noise((2_000, 1_500), 100).save(buffer, format="PNG")  # more than 1 MiB, Starlette's limit
    assert len(buffer.getvalue()) > 1 << 20
    assert upload(client, buffer.getvalue()).status_code == 201
    assert upload(client, buffer.getvalue()[:-500_000]).status_code == 422
    assert opened == []
    assert list(tmp_path.iterdir()) == []
