"""The cluster files say what Ray, KubeRay and this repository understand; no cluster is needed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from diffpose.platform.base.config import load_settings
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.serve import ServeSettings
from diffpose.preprocessing.settings import PreprocessSettings

ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTER = ROOT / "cluster"
README = (CLUSTER / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
IN_IMAGE = "/opt/diffpose/"
KUBERAY = {
    "kuberay-rayjob.yaml": ("RayJob", "rayClusterSpec"),
    "kuberay-rayservice.yaml": ("RayService", "rayClusterConfig"),
}
SETTINGS = {"preprocess": PreprocessSettings, "train": TrainSettings, "serve": ServeSettings}


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def ray_version() -> str:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.findall(r"^ray==(\S+)$", constraints, re.MULTILINE)[0]


def pods(name: str) -> list[Any]:
    spec = read(name)["spec"][KUBERAY[name][1]]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def commands() -> list[str]:
    """Return the command lines of the README's code blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def job_commands() -> list[str]:
    """Return all command lines that run a file of jobs/, as if at the root of the repository."""
    lines = [*commands(), read("kuberay-rayjob.yaml")["spec"]["entrypoint"]]
    found = [re.search(r"python (\S*jobs/.*)$", line) for line in lines]
    return [match[1].replace(IN_IMAGE, "") for match in found if match]


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.yaml")), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_aws_follows_rays_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    config = read("aws.yaml")
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "max_worker": 3}, schema)


def test_aws_is_consistent() -> None:
    config = read("aws.yaml")
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    worker = types["worker"]
    assert 0 <= worker["min_workers"] <= worker["max_workers"] <= config["max_workers"]
    assert config["docker"]["image"] == re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)[0]
    assert "--constraint constraints.txt" in config["setup_commands"][0]
    options = " ".join(config["docker"]["run_options"])
    assert "RAY_AUTH_MODE=token" in options
    token = re.findall(r"RAY_AUTH_TOKEN_PATH=(\S+)", options)[0]
    assert config["file_mounts"][token] == "~/.ray/auth_token"


def test_serve_configuration_is_valid() -> None:
    config = read("serve.yaml")
    application = ServeDeploySchema.model_validate(config).applications[0]
    assert application.import_path == "diffpose.platform.serving.app:application"
    assert set(application.args) == {"run", "replicas"}
    # The schema ignores keys that it does not know, so look for misspelt ones.
    assert set(config) <= set(ServeDeploySchema.model_fields)
    assert set(config["applications"][0]) <= set(type(application).model_fields)


def test_service_serves_the_same() -> None:
    service = yaml.safe_load(read("kuberay-rayservice.yaml")["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(service)
    assert service == read("serve.yaml")


def test_model_replicas_fit_in_the_workers() -> None:
    replicas = read("serve.yaml")["applications"][0]["args"]["replicas"]
    groups = read("kuberay-rayservice.yaml")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    cpus = [
        group["minReplicas"]
        * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in groups
    ]
    assert replicas <= sum(cpus)


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_kind_version_and_authentication(name: str) -> None:
    kind, key = KUBERAY[name]
    config = read(name)
    assert (config["apiVersion"], config["kind"]) == ("ray.io/v1", kind)
    assert config["spec"][key]["rayVersion"] == ray_version()
    assert config["spec"][key]["authOptions"] == {"mode": "token"}
    for group in config["spec"][key]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", KUBERAY)
def test_pods(name: str) -> None:
    image = re.findall(r"--tag (\S+)", DOCKERFILE)[0]
    for pod in pods(name):
        assert pod["securityContext"] == {"runAsNonRoot": True}
        container = pod["containers"][0]
        assert container["image"] == image
        assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
        assert container["envFrom"] == [{"secretRef": {"name": "diffpose-s3"}}]
        assert all("value" in variable for variable in container["env"])


def test_no_secret_in_the_files() -> None:
    for path in [*CLUSTER.glob("*.yaml"), CLUSTER / "Dockerfile"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"AWS_\w*(KEY|TOKEN)|RAY_AUTH_TOKEN\b|PASSWORD|AKIA", text), path.name


def test_dockerfile_base_is_the_pinned_ray() -> None:
    base = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert base == [f"rayproject/ray:{ray_version()}-py311-cpu"]


def test_dockerfile_copies_what_exists() -> None:
    copied = set()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        copied |= set(sources)
    # A pattern may match nothing, a name may not.
    assert [name for name in copied if "*" not in name and not (ROOT / name).exists()] == []
    links = {link.name for link in (ROOT / "diffpose").iterdir() if link.is_symlink()}
    assert links | {"diffpose", "configs", "pyproject.toml", "constraints.txt"} <= copied


def test_dockerfile_ends_without_root() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "1000"
    assert f"WORKDIR {IN_IMAGE.rstrip('/')}" in DOCKERFILE
    assert "--constraint constraints.txt" in DOCKERFILE
    assert ".[serve,s3,cluster]" in DOCKERFILE


def test_readme_names_existing_files() -> None:
    lines = [line.replace(IN_IMAGE, "") for line in commands()]
    words = {word for line in lines for word in shlex.split(line)}
    named = {
        word
        for word in words
        if re.match(r"(jobs|configs|cluster|platform|model|preprocessing)/", word)
    }
    assert {"jobs/preprocess.py", "cluster/aws.yaml", "cluster/Dockerfile"} <= named
    assert sorted(word for word in named if not (ROOT / word).is_file()) == []
    in_text = set(re.findall(r"`(cluster/[\w.-]+)`", README))
    assert sorted(word for word in in_text if not (ROOT / word).is_file()) == []


def test_readme_shows_every_file() -> None:
    names = {path.name for path in CLUSTER.iterdir() if path.suffix in ("", ".yaml")}
    assert {
        name for name in names if name != "__pycache__" and f"cluster/{name}" not in README
    } == (set())


@pytest.mark.parametrize("command", job_commands())
def test_job_commands_name_files_and_settings(command: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    job, *arguments = shlex.split(command)
    assert (ROOT / job).is_file()
    load_settings(SETTINGS[Path(job).stem], arguments)


@pytest.mark.parametrize("job", sorted({shlex.split(line)[0] for line in job_commands()}))
def test_job_files_start_as_commands(job: str) -> None:
    # As `ray job submit -- python jobs/JOB.py` does: the file's folder comes first on the path.
    result = subprocess.run(
        [sys.executable, job, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
