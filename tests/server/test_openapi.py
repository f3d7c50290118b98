"""The OpenAPI document describes what the server does: requests made from it, by schemathesis."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_document_is_complete_and_names_no_other_host(client: httpx.Client):
    document = client.get("/openapi.json").json()
    assert len(document["paths"]) == 15
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {"401", "403"} <= set(operation["responses"]), (method, path)
            assert operation["description"]
    assert "://" not in client.get("/openapi.json").text


def test_schemathesis_finds_nothing(client: httpx.Client, tmp_path: Path):
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{client.base_url}/openapi.json"]
    options = ["--checks", CHECKS, "--max-examples", "12", "--phases", "examples,fuzzing", "--seed", "1"]
    run = subprocess.run(
        [*command, *options, "--generation-database", "none", "--no-color"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "15 selected" in run.stdout
