"""Every file of deploy/ against the names of its API, its versions, and our own command line."""

import copy
import functools
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from referencing import Registry, Resource

from fractal_ray.spec.yaml_file import load_spec
from nanochat.model.config import GPTConfig
from nanochat.sizing.memory import ASSUMPTIONS, estimate_memory
from nanochat.sizing.summary import flops_per_token

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT / "tests/golden/deploy"
KUBERAY = ["rayjob.yaml", "raycluster.yaml"]
RAY_UP = ["aws.yaml", "on-prem.yaml"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
README = (DEPLOY / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def cluster_of(name: str) -> dict[str, Any]:
    """The RayClusterSpec of a file of deploy/kuberay."""
    spec = read(f"kuberay/{name}")["spec"]
    return spec.get("rayClusterSpec", spec)


def containers() -> Iterator[dict[str, Any]]:
    cluster = cluster_of("raycluster.yaml")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield from group["template"]["spec"]["containers"]


@functools.cache
def schemas() -> Registry:
    found = [json.loads(path.read_text()) for path in sorted(SCHEMAS.glob("*.json"))]
    dialect = Draft202012Validator.META_SCHEMA["$schema"]
    return Registry().with_resources(
        (schema["$id"], Resource.from_contents({"$schema": dialect, **schema})) for schema in found
    )


def check(document: Any, api: str) -> None:
    """Raise where a document has a field that the API has not, or one of another type."""
    Draft202012Validator({"$ref": api}, registry=schemas()).validate(document)


def check_kubernetes(document: dict[str, Any]) -> None:
    kind = document["kind"]
    claim = kind == "PersistentVolumeClaim"
    check(document, f"kubernetes.json#/$defs/V1{kind}" if claim else f"kuberay.json#/$defs/{kind}")


@pytest.mark.parametrize("name", [*KUBERAY, "storage.yaml"])
def test_kubernetes_files_have_only_fields_of_their_api(name: str) -> None:
    check_kubernetes(read(f"kuberay/{name}"))


# Where a field is, and what a hand may make of it.
MISTAKES: dict[str, Callable[[Any], Any]] = {
    "submissionmode": lambda job: job["spec"].update(submissionmode="K8sJobMode"),
    "HTTPmode": lambda job: job["spec"].update(submissionMode="HTTPmode"),
    "backoffLimit: three": lambda job: job["spec"].update(backoffLimit="three"),
    "no entrypoint": lambda job: job["spec"].pop("entrypoint"),
    "ray.io/v1alpha1": lambda job: job.update(apiVersion="ray.io/v1alpha1"),
    "enableInTreeAutoscalling": lambda job: cluster(job).update(enableInTreeAutoscalling=True),
    "workerGroupSpec": lambda job: cluster(job).update(workerGroupSpec=[]),
    "token: true": lambda job: cluster(job)["authOptions"].update(token=True),
    "idleTimeoutMinutes": lambda job: cluster(job)["autoscalerOptions"].update(
        idleTimeoutMinutes=2
    ),
    "minReplica": lambda job: workers(job).update(minReplica=0),
    "num-cpus: 0": lambda job: cluster(job)["headGroupSpec"]["rayStartParams"].update(
        {"num-cpus": 0}
    ),
    "toleration": lambda job: pod(job).update(toleration=[]),
    "imagePullpolicy": lambda job: pod(job)["containers"][0].update(imagePullpolicy="Always"),
    "sizelimit": lambda job: pod(job)["volumes"][0]["emptyDir"].update(sizelimit="1Gi"),
    "requirements": lambda job: pod(job)["containers"][0]["resources"].update(requirements={}),
}


def cluster(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["rayClusterSpec"]


def workers(job: dict[str, Any]) -> dict[str, Any]:
    return cluster(job)["workerGroupSpecs"][0]


def pod(job: dict[str, Any]) -> dict[str, Any]:
    return workers(job)["template"]["spec"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_name_or_type_is_found(mistake: str) -> None:
    job = copy.deepcopy(read("kuberay/rayjob.yaml"))
    MISTAKES[mistake](job)
    with pytest.raises(ValidationError):
        check_kubernetes(job)


def test_both_kuberay_files_have_one_cluster() -> None:
    assert cluster_of("rayjob.yaml") == cluster_of("raycluster.yaml")


def test_rays_own_autoscaler_reads_the_cluster_as_meant() -> None:
    """No slot on the head, no card held while nothing runs."""
    from ray.autoscaler._private.kuberay import autoscaling_config

    manifest = read("kuberay/raycluster.yaml")
    manifest["metadata"]["namespace"] = "default"
    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(manifest)
    head, gpu = derived["available_node_types"].values()
    assert (head["resources"]["CPU"], head["resources"]["GPU"]) == (0, 0)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (8, 1)
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    # A sweep that asks for this kind of card brings a node of this group.
    assert gpu["labels"]["ray.io/accelerator-type"] == "H100"
    assert gpu["resources"]["accelerator_type:H100"] == 1
    assert derived["idle_timeout_minutes"] == 2
    assert manifest["spec"]["enableInTreeAutoscaling"] is True


def test_pods_ask_for_what_they_may_use_and_for_shared_memory_that_holds_rays_store() -> None:
    for container in containers():
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        memory = gibibytes(resources["limits"]["memory"])
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        (size,) = (gibibytes(text) for text in shm_sizes(container["name"]))
        assert 0.3 * memory <= size < 0.5 * memory


def shm_sizes(container: str) -> Iterator[str]:
    cluster = cluster_of("raycluster.yaml")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        if spec["containers"][0]["name"] == container:
            yield from (v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if v["name"] == "shm")


def gibibytes(text: str) -> int:
    assert text.endswith("Gi")
    return int(text[:-2])


def test_pods_have_no_rights_and_ray_has_no_open_door() -> None:
    cluster = cluster_of("raycluster.yaml")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in containers():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["authOptions"] == {"mode": "token"}
    for name in RAY_UP:
        text = (DEPLOY / "ray-up" / name).read_text()
        assert "RAY_AUTH_MODE=token" in text and "dashboard-host" not in text


def start_commands(name: str) -> dict[str, str]:
    """Return the whole start of a head and of a worker, as shells get it."""
    if name == "docs/cluster.md":
        (block,) = [
            block
            for block in re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
            if "ray start --head" in block
        ]
        return {"head": block}
    config = read(f"ray-up/{name}")
    roles = ("head", "worker")
    return {role: "\n".join(config[f"{role}_start_ray_commands"]) for role in roles}


@pytest.mark.parametrize("name", [*RAY_UP, "docs/cluster.md"])
def test_ray_starts_in_a_folder_that_other_users_cannot_enter(name: str, tmp_path: Path) -> None:
    """Run the commands in an empty home, with a `ray` that prints its words."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ray").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bin" / "ray").chmod(0o755)
    for role, commands in start_commands(name).items():
        home = tmp_path / role
        home.mkdir()
        done = subprocess.run(
            [
                "bash",
                "-c",
                commands.replace("/shared/fractal-ray/.venv/bin", str(tmp_path / "bin")),
            ],
            env={"HOME": str(home), "PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            umask=0o022,
        )
        words = done.stdout.splitlines()[-1].split()
        assert words[0] == "start", done.stderr
        folder = Path(words[words.index("--temp-dir") + 1]).parent
        assert folder.parent == home
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def prepared(name: str) -> dict[str, Any]:
    """The file with Ray's defaults for its provider, as `ray up` completes it."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(read(f"ray-up/{name}"))


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_accepts_the_file(name: str) -> None:
    from ray.autoscaler._private.util import validate_config

    config = prepared(name)
    validate_config(config)
    assert config["cluster_name"] == "fractal-ray"


@pytest.mark.parametrize("field", ["max_worker", "head_node", "worker_node_type"])
def test_ray_up_refuses_a_wrong_name(field: str) -> None:
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(ValidationError, match=field):
        validate_config({**prepared("aws.yaml"), field: 1})


def test_aws_scales_from_nothing_and_its_nodes_are_what_ec2_takes() -> None:
    config = prepared("aws.yaml")
    types = config["available_node_types"]
    for node in types.values():
        check(node["node_config"], "ec2.json#/$defs/RunInstancesRequest")
    assert types["head"]["resources"] == {"CPU": 0}
    kind = types["gpu"]["labels"]["ray.io/accelerator-type"]
    assert types["gpu"]["resources"] == {"CPU": 8, "GPU": 1, f"accelerator_type:{kind}": 1}
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, config["max_workers"])
    assert f"-e AWS_REGION={config['provider']['region']}" in config["docker"]["run_options"]
    with pytest.raises(ValidationError):
        check({"InstanceTypes": "g6e.2xlarge"}, "ec2.json#/$defs/RunInstancesRequest")


def test_on_prem_takes_every_machine_from_the_start() -> None:
    config = prepared("on-prem.yaml")
    (node,) = config["available_node_types"].values()
    assert node["min_workers"] == node["max_workers"] == len(config["provider"]["worker_ips"])


def argument(name: str) -> str:
    (found,) = re.findall(rf"^ARG {name}=(.+)$", DOCKERFILE, re.MULTILINE)
    return found


def needed(package: str) -> SpecifierSet:
    """What pyproject.toml allows of a package."""
    requirements = map(Requirement, PROJECT["dependencies"])
    return next(r.specifier for r in requirements if r.name == package)


def test_the_image_has_the_versions_that_the_files_and_the_project_name() -> None:
    assert argument("PYTHON") in SpecifierSet(PROJECT["requires-python"])
    assert argument("RAY") in needed("ray")
    assert argument("TORCH_VERSION") in needed("torch")
    assert cluster_of("raycluster.yaml")["rayVersion"] == argument("RAY")
    images = {container["image"] for container in containers()} | {
        read("ray-up/aws.yaml")["docker"]["image"]
    }
    (image,) = images
    assert image.endswith(f":{PROJECT['version']}") and f"-t {image} ." in README


def test_the_image_is_made_of_files_that_reach_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        copied.update(line.split()[:-1])
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml"} <= copied


def test_the_image_installs_the_dependencies_of_the_project_and_of_its_commands() -> None:
    (code,) = re.findall(r'python -c "(import tomllib.*)" \\', DOCKERFILE)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["report"] + extras["data"] + extras["export"]
    assert done.stdout.splitlines() == wanted


def test_the_image_ends_as_the_user_that_pods_run_as() -> None:
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    context = cluster_of("raycluster.yaml")["headGroupSpec"]["template"]["spec"]["securityContext"]
    assert users == [f"{context['runAsUser']}:{context['runAsGroup']}"]


# Which file of which package reads a variable that the files here set.
READERS = {
    "RAY_AUTH_MODE": "ray/_private/authentication/authentication_token_setup.py",
    "RAY_AUTH_TOKEN": "ray/_private/runtime_env/image_uri.py",
    "RAY_AUTH_TOKEN_PATH": "ray/_private/runtime_env/image_uri.py",
    "RAY_JOB_STOP_SIGNAL": "ray/dashboard/modules/job/job_supervisor.py",
    "RAY_JOB_STOP_WAIT_TIME_S": "ray/dashboard/modules/job/job_supervisor.py",
    "NANOCHAT_BASE_DIR": "nanochat/files/base_dir.py",
    "HF_HOME": "huggingface_hub/constants.py",
    "HF_TOKEN": "huggingface_hub/constants.py",
    "WANDB_API_KEY": "wandb/env.py",
}
# Read by the AWS library inside Arrow, NVIDIA's container runtime, Python, the shell.
OUTSIDE = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL",
    "NVIDIA_DRIVER_CAPABILITIES", "PYTHONUNBUFFERED", "HOME", "PATH",
}  # fmt: skip


def test_every_variable_that_is_set_is_read_by_someone() -> None:
    texts = [path.read_text() for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    names = set(re.findall(r"\b((?:RAY|AWS|HF|WANDB|NANOCHAT)_[A-Z_]+)\b", "\n".join(texts)))
    names |= {
        variable["name"] for container in containers() for variable in container.get("env", [])
    }
    names |= set(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", DOCKERFILE, re.MULTILINE))
    assert names - {"RAY_HEAD_IP"} <= READERS.keys() | OUTSIDE
    packages = Path(yaml.__file__).parents[1]
    for name, reader in READERS.items():
        home = ROOT if reader.startswith("nanochat") else packages
        assert name.removeprefix("RAY_AUTH_") in (home / reader).read_text(), name


def commands() -> list[list[str]]:
    """Every command of ours in the files: entrypoints, and the fenced lines of README.md."""
    found = [shlex.split(read("kuberay/rayjob.yaml")["spec"]["entrypoint"])]
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            # First in its line, or last after the words of docker.
            starts = [i for i, word in enumerate(words) if Path(word).name == "fractal-ray"]
            if starts and words[0] in ("docker", words[starts[-1]]):
                found.append(words[starts[-1] :])
    # In the text, a name with one word after it is no whole command.
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL).replace("\n", " ")
    inline = re.findall(r"`((?:fractal-ray|nanochat) [^` ]+ [^`]+)`", text)
    return found + [shlex.split(text) for text in inline]


def specs(words: list[str]) -> list[str]:
    return [word for word in words if word.endswith(".yaml")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_our_command_line_takes_every_command(words: list[str]) -> None:
    """Parsed by the real command line, and the spec read with its changes."""
    import typer

    from fractal_ray.cli.main import app as fractal_ray
    from nanochat.cli.main import app as nanochat

    app = nanochat if Path(words[0]).name == "nanochat" else fractal_ray
    command: Any = typer.main.get_command(app)
    words, run = words[1:], None
    if "--" in words:  # `submit` hands what follows to `run`
        run = ["run", *specs(words), *words[words.index("--") + 1 :]]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    words = ["20" if word == "D" else word for word in words]
    command.make_context(command.name, list(words))
    if run is not None:
        test_our_command_line_takes_every_command(["fractal-ray", *run])
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    for name in specs(words):
        load_spec(str(ROOT / name.removeprefix("/opt/fractal-ray/")), changes)


def test_the_job_asks_for_slots_that_its_cluster_can_have() -> None:
    words = shlex.split(read("kuberay/rayjob.yaml")["spec"]["entrypoint"])
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    spec = load_spec(str(ROOT / "sweeps/quickstart.yaml"), changes)
    (group,) = cluster_of("rayjob.yaml")["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert isinstance(spec.resources.slots, int) and isinstance(spec.resources.gpu, float)
    assert spec.resources.slots * spec.resources.gpu <= group["maxReplicas"]
    assert spec.resources.cpu / spec.resources.gpu <= int(limits["cpu"])
    mounted = {m["mountPath"] for c in containers() for m in c["volumeMounts"]}
    storage = words[words.index("--storage") + 1]
    assert any(Path(storage).is_relative_to(path) for path in mounted)


def test_every_file_that_the_readme_names_exists() -> None:
    for name in re.findall(r"`((?:kuberay|ray-up)/[\w.-]+|Dockerfile|ray\w+\.yaml)`", README):
        assert list(DEPLOY.rglob(Path(name).name)), name
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (DEPLOY / link).exists(), link


def rows(start: str) -> list[list[str]]:
    lines = README[README.index(start) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shape(depth: int) -> GPTConfig:
    """As `nanochat size --depth ... --sequence-len 1024` has it."""
    return GPTConfig.from_depth(depth, vocab_size=65_536, sequence_len=1024)


def test_the_table_of_memory_is_what_size_says() -> None:
    cards = (24, 48, 80, 141)
    for name, step, process, *slots in rows("| model | a step"):
        memory = estimate_memory(shape(int(name[1:])), 8, ASSUMPTIONS["cuda"])
        total = sum(memory.values()) / 1e9
        assert (step, process) == (f"{total:.1f} GB", f"{total + 2.6:.1f} GB")
        assert [int(text) for text in slots] == [int(card / (total + 2.6)) for card in cards]


def test_the_table_of_speed_follows_from_its_formula() -> None:
    flops = flops_per_token(shape(20))
    assert f"{flops / 1e9:.2f} GFLOP" in README
    for _, rate, speed, an_hour, hours in rows("| card | TFLOP/s"):
        tokens = 0.4 * float(rate) * 1e12 / flops
        assert float(speed.replace(",", "")) == pytest.approx(tokens, rel=0.005)
        points = 3600 * tokens * 0.05 / 250_000
        assert int(an_hour.split()[0]) == round(points)
        assert int(hours.split()[0]) == round(4096 / points)
