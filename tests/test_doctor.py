"""What `bench doctor` reports, on machines that lack one thing or another."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import torch

from bench import doctor, registry
from bench.doctor import EXTRAS, Finding, pip_line, report
from bench.errors import ConfigError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def named(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_whatever_is_not_in_order_has_a_remedy(tmp_path: Path) -> None:
    findings = report(tmp_path)
    assert {"python", "torch", "torch build", "own packages", "Hugging Face hub", "results folder"} <= {f.name for f in findings}
    assert len({f.name for f in findings}) == len(findings)
    for finding in findings:
        assert finding.detail
        assert (finding.state == "ok") == (finding.remedy == ""), finding


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_names_its_pip_line(extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda module: None)
    finding = named(report(tmp_path), f"extra {extra}")
    assert finding.state == "note"
    assert finding.remedy == f'pip install -c constraints.txt "rl-bench-suite[{extra}]"'


def test_a_missing_core_package_names_its_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "CORE", (*doctor.CORE, "no-such-distribution"))
    finding = named(report(tmp_path), "no-such-distribution")
    assert (finding.state, finding.remedy) == ("missing", pip_line("rl-bench-suite"))


def test_a_broken_torch_hides_no_other_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> bool:
        raise RuntimeError("driver too old")

    whole = {f.name for f in report(tmp_path)}
    monkeypatch.setattr(torch.cuda, "is_available", broken)
    findings = report(tmp_path)
    assert named(findings, "gpu").detail == "RuntimeError: driver too old"
    assert {f.name for f in findings} - {"gpu"} == {name for name in whole if not name.startswith("GPU")}


def test_foreign_packages_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hidden(kind: str) -> list[str]:
        raise ConfigError("the package 'algorithms' comes from elsewhere; uninstall what put it there")

    monkeypatch.setattr(registry, "names", hidden)
    finding = named(report(tmp_path), "own packages")
    assert finding.state == "missing"
    assert "comes from elsewhere" in finding.detail


def test_a_hub_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def silent(*_: object) -> socket.socket:
        time.sleep(5)
        raise TimeoutError

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(doctor, "HUB_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", silent)
    start = time.monotonic()
    assert named(report(tmp_path), "Hugging Face hub").state == "note"
    assert time.monotonic() - start < 3


def test_the_hub_in_use_is_the_one_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert named(report(tmp_path), "Hugging Face hub").state == "ok"
    assert named(report(tmp_path), "Hugging Face hub").state == "note"


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    monkeypatch.setattr(doctor, "_reachable", lambda *address: asked.append(address))
    assert "HF_HUB_OFFLINE" in named(report(tmp_path), "Hugging Face hub").detail
    assert asked == []


def test_the_disk_is_that_of_the_results_folder_even_before_it_exists(tmp_path: Path) -> None:
    finding = named(report(tmp_path / "not" / "yet"), "results folder")
    assert finding.state == "ok"
    assert str(tmp_path / "not" / "yet") in finding.detail
    assert not (tmp_path / "not").exists()


def test_a_task_without_its_base_model_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "BASES", tmp_path)
    finding = named(report(tmp_path), "base model last_digit")
    assert (finding.state, finding.remedy) == ("missing", "bench pretrain last_digit")
