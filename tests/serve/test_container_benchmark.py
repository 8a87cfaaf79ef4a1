"""The benchmark that builds the containers: what it says where it can't run. With Docker, it is run by hand."""

from __future__ import annotations

import os
import sys

import pytest

from benchmarks import serve_container


@pytest.mark.parametrize(("client", "said"), [(None, "no `docker` command"), ("exit 1", "no Docker daemon answers; start one")])
def test_without_docker_it_says_so(client, said, tmp_path, monkeypatch):
    if client is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{client}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    monkeypatch.setattr(sys, "argv", ["serve_container", "--wheels", str(tmp_path), "--out", str(tmp_path / "result.json")])
    with pytest.raises(SystemExit, match=said):
        serve_container.main()
    assert not (tmp_path / "result.json").exists()
