"""The deployment files pass the linters of their formats; one that is missing fails in CI and skips elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from ovstream.config import load_config
from ovstream.errors import ConfigError
from ovstream.service.security import check_door

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """Path of a linter, from beside this interpreter or from the system."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None and name == "kubectl":
        pytest.skip("kubectl is not installed, and Debian's is too old for these files")
    if found is None and "CI" in os.environ:
        pytest.fail(f"{name} is missing: .ci/run installs it")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def shell_scripts() -> list[Path]:
    return [DEPLOY / "healthcheck", DEPLOY / "prune", ROOT / ".ci" / "run"]


def test_dockerfile() -> None:
    check(tool("hadolint"), "deploy/Dockerfile")


def test_the_image_loses_what_nobody_loads_and_nothing_else(tmp_path: Path) -> None:
    """On a tree as pip makes it, with a real extension module that must still load."""
    tool("strip")
    import cffi

    backend = next(Path(cffi.__file__).parents[1].glob("_cffi_backend*.so"))
    kept = [
        "numpy/__init__.py",
        "numpy.libs/libopenblas.so",
        "onnxruntime/capi/_pybind_state.py",
        "PIL/_imaging.py",
    ]
    gone = [
        "numpy/f2py/__init__.py",
        "numpy/linalg/tests/test_linalg.py",
        "onnxruntime/capi/libonnxruntime.so.1.2.3",
        "onnxruntime/transformers/optimizer.py",
        "pillow.libs/libavif-0.so.1",
        "yaml/stub.pyi",
    ]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 1000)
    shutil.copy(backend, tmp_path)
    said = check("deploy/prune", str(tmp_path))
    assert re.fullmatch(r"\d+\.\d MB in site-packages\n", said)
    left = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert left == {*kept, backend.name}
    loads = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import _cffi_backend; print(_cffi_backend.__file__)"
    assert check(sys.executable, "-c", loads).strip() == str(tmp_path / backend.name)


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_yaml(path: Path) -> None:
    check(tool("yamllint"), "--strict", "--config-file", "deploy/.yamllint", str(path))


def test_compose() -> None:
    check(tool("docker-compose"), "--file", "deploy/compose.yaml", "config", "--quiet")


def test_kubernetes() -> None:
    documents = [one for one in yaml.safe_load_all(check(tool("kubectl"), "kustomize", "deploy/k3s")) if one]
    kinds = Counter(one["kind"] for one in documents)
    assert kinds == {"Namespace": 1, "ConfigMap": 1, "Secret": 1, "StatefulSet": 1, "Service": 1}
    (workload,) = (one for one in documents if one["kind"] == "StatefulSet")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {
        container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")
    } == {
        "/startup",
        "/live",
        "/ready",
    }


@pytest.mark.parametrize("path", ["compose.ovstream.yaml", "k3s/ovstream.yaml"])
def test_configurations_load(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVSTREAM_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("OVSTREAM_READ_TOKEN", "fedcba9876543210")
    for name in ("token", "read_token"):
        (tmp_path / name).write_text("0123456789abcdef\n")
    copy = tmp_path / "ovstream.yaml"
    copy.write_text((DEPLOY / path).read_text().replace("/run/secrets", str(tmp_path)))
    found = load_config(copy)
    assert found.service.state_folder == "/var/lib/ovstream"
    check_door(found.service.http)


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    """Every metric in a query is one of the service, with its suffix."""
    documented = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(ovstream_\w+)` \| (\w+)", documented, re.M)
    suffixes = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    known = {name + suffixes[kind] for name, kind in rows}
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "ovstream.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
    queries += [alert["expr"] for alert in alerts]
    asked = {name for query in queries for name in re.findall(r"\bovstream_\w+", query)}
    assert len(asked) > 15
    assert asked <= known
    assert {
        alert["alert"].startswith("Ovstream") and "summary" in alert["annotations"] for alert in alerts
    } == {True}


def test_the_cluster_starts_with_no_token_that_others_know(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "k3s" / "secret.env").read_text().splitlines()
    assert lines
    assert all(line.endswith("=") for line in lines), "a published value is a password that everybody has"
    for line in lines:
        monkeypatch.setenv(line.removesuffix("="), "")
    with pytest.raises(ConfigError, match="openssl rand"):
        load_config(DEPLOY / "k3s" / "ovstream.yaml")


def test_prometheus_takes_the_alerts_and_they_fire_when_they_should(tmp_path: Path) -> None:
    promtool = tool("promtool")
    assert "SUCCESS" in check(promtool, "check", "rules", "deploy/prometheus/alerts.yaml")
    for name in (DEPLOY / "prometheus" / "alerts.yaml", Path(__file__).with_name("alerts_test.yaml")):
        shutil.copy(name, tmp_path)
    assert "SUCCESS" in check(promtool, "test", "rules", str(tmp_path / "alerts_test.yaml"))
    config = (DEPLOY / "prometheus" / "prometheus.yaml").read_text()
    (tmp_path / "token").write_text("x" * 16)
    (tmp_path / "prometheus.yaml").write_text(
        config.replace("/run/secrets/read_token", str(tmp_path / "token"))
    )
    assert "SUCCESS" in check(promtool, "check", "config", str(tmp_path / "prometheus.yaml"))


@pytest.mark.parametrize("path", shell_scripts(), ids=lambda path: path.name)
def test_shell(path: Path) -> None:
    check(tool("shellcheck"), str(path))
    assert path.stat().st_mode & 0o111, f"{path} is not executable"


def test_systemd_unit_is_tightly_sandboxed() -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", "deploy/ovstream.service"]
    # Known to systemd 250 and later; an old one says so and is no judge.
    if "offline" not in subprocess.run([*command[:1], "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this systemd-analyze cannot judge a unit offline")
    report = check(*command, "--threshold=15", "--no-pager")
    assert "Overall exposure level" in report


def test_systemd_unit_is_understood(tmp_path: Path) -> None:
    unit = tmp_path / "ovstream.service"  # with a program that exists
    text = (DEPLOY / "ovstream.service").read_text().replace("/opt/ovstream/bin/ovstream", "/bin/true")
    unit.write_text(text.replace("/opt/ovstream ", ""))
    assert check(tool("systemd-analyze"), "verify", "--man=no", str(unit)) == ""


def test_the_image_gets_every_file_that_the_dockerfile_copies() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}
    copied = set()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert ignore[0] == "*"
    assert admitted == copied
    for name in copied:
        assert (ROOT / name).exists(), name


def test_the_image_sets_no_option_that_a_mounted_file_could_not_change() -> None:
    """Variables of options win over the file."""
    assert "OVSTREAM_" not in re.sub(r"#.*", "", (DEPLOY / "Dockerfile").read_text())


def test_a_scrape_without_a_token_is_not_promised() -> None:
    """`/metrics` wants a bearer token, which scrapes by annotation do not have."""
    assert "prometheus.io" not in (DEPLOY / "k3s" / "workload.yaml").read_text()
