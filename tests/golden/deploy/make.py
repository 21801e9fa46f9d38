"""Write the schemas of this folder again, from packages of PyPI. README.md has the command."""

import ast
import gzip
import json
import re
from collections.abc import Mapping
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# What a field of KubeRay is, where dagster-ray's annotation is a plain dict or a name of its own.
NESTED = {
    "ray_cluster_spec": "RayClusterSpec",
    "autoscaler_options": "AutoscalerOptions",
    "auth_options": "AuthOptions",
}
PLAIN = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
INTEGER, STRING, OBJECT = {"type": "integer"}, {"type": "string"}, {"type": "object"}
STRINGS = {"type": "object", "additionalProperties": STRING}
TEMPLATE = {"$ref": "kubernetes.json#/$defs/V1PodTemplateSpec"}
# The groups and the autoscaler's options are plain dicts in dagster-ray. Each of these names must
# be in the text of the file beside it.
AUTOSCALER = ("ray", "ray/autoscaler/_private/kuberay/autoscaling_config.py")
NODES = ("ray", "ray/autoscaler/_private/kuberay/node_provider.py")
DAGSTER = ("dagster-ray", "dagster_ray/kuberay/configs.py")
CODEFLARE = ("codeflare-sdk", "codeflare_sdk/ray/rayjobs/rayjob.py")
GROUP = {
    "rayStartParams": (AUTOSCALER, STRINGS),
    "template": (AUTOSCALER, TEMPLATE),
    "resources": (AUTOSCALER, STRINGS),
    "labels": (AUTOSCALER, STRINGS),
}
WORKERS = GROUP | {
    "groupName": (AUTOSCALER, STRING),
    "replicas": (NODES, INTEGER),
    "minReplicas": (AUTOSCALER, INTEGER),
    "maxReplicas": (AUTOSCALER, INTEGER),
    "numOfHosts": (AUTOSCALER, INTEGER),
    "idleTimeoutSeconds": (AUTOSCALER, INTEGER),
    "scaleStrategy": (NODES, OBJECT),
}
GROUPS = {
    "headGroupSpec": (DAGSTER, {"$ref": "#/$defs/HeadGroupSpec"}),
    "workerGroupSpecs": (DAGSTER, {"type": "array", "items": {"$ref": "#/$defs/WorkerGroupSpec"}}),
}
HEAD = GROUP | {"serviceType": (DAGSTER, STRING)}
SCALING = {
    "upscalingMode": (DAGSTER, {"enum": ["Default", "Aggressive", "Conservative"]}),
    "idleTimeoutSeconds": (DAGSTER, INTEGER),
    "env": (DAGSTER, {"type": "array"}),
    "envFrom": (DAGSTER, {"type": "array"}),
    "resources": (DAGSTER, {"$ref": "kubernetes.json#/$defs/V1ResourceRequirements"}),
}
# Types of pods and volumes that the files of deploy/ reach; what they refer to beyond these is
# left open.
KUBERNETES = {
    "V1PodTemplateSpec", "V1ObjectMeta", "V1PodSpec", "V1Container", "V1EnvVar", "V1EnvVarSource",
    "V1SecretKeySelector", "V1EnvFromSource", "V1SecretEnvSource", "V1ResourceRequirements",
    "V1ContainerPort", "V1VolumeMount", "V1Volume", "V1EmptyDirVolumeSource", "V1Toleration",
    "V1PersistentVolumeClaimVolumeSource", "V1PodSecurityContext", "V1SecurityContext",
    "V1Capabilities", "V1SeccompProfile", "V1PersistentVolumeClaim", "V1PersistentVolumeClaimSpec",
    "V1VolumeResourceRequirements",
}  # fmt: skip
EC2 = {
    "RunInstancesRequest", "BlockDeviceMapping", "EbsBlockDevice", "InstanceMarketOptionsRequest",
    "SpotMarketOptions", "IamInstanceProfileSpecification", "TagSpecification", "Tag",
    "InstanceMetadataOptionsRequest",
}  # fmt: skip


def text(package: str, name: str) -> str:
    return Path(str(distribution(package).locate_file(name))).read_text()


def closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """An object that has these fields and no others."""
    properties = dict(sorted(properties.items()))
    known = {"type": "object", "properties": properties, "additionalProperties": False}
    return known | ({"required": sorted(required)} if required else {})


def named(fields: Mapping[str, tuple[tuple[str, str], Any]], required: list[str]) -> dict[str, Any]:
    for name, (source, _) in fields.items():
        assert f'"{name}"' in text(*source) or f"/{name}" in text(*source), (name, source)
    return closed({name: kind for name, (_, kind) in fields.items()}, required)


def dagster(name: str) -> dict[str, Any]:
    """Fields of one class of dagster-ray's configs.py: the keys that its `to_k8s` writes."""
    (found,) = (n for n in ast.walk(ast.parse(text(*DAGSTER))) if getattr(n, "name", "") == name)
    assert isinstance(found, ast.ClassDef)
    kinds = {
        node.target.id: ast.unparse(node.annotation)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    (write,) = (n for n in found.body if getattr(n, "name", "") == "to_k8s")
    fields = {}
    for node in (n for n in ast.walk(write) if isinstance(n, ast.Dict)):
        for key, value in zip(node.keys, node.values, strict=True):
            attribute = re.search(r"self\.(\w+)", ast.unparse(value))
            if isinstance(key, ast.Constant) and attribute:
                fields[str(key.value)] = kind_of(attribute[1], kinds[attribute[1]])
    return fields


def kind_of(attribute: str, annotation: str) -> dict[str, Any]:
    if attribute in NESTED:
        return {"$ref": f"#/$defs/{NESTED[attribute]}"}
    if choices := re.fullmatch(r"Literal\[(.*)\]", annotation):
        return {"enum": list(ast.literal_eval(f"({choices[1]},)"))}
    plain = PLAIN.get(annotation.removesuffix(" | None"))
    return {"type": plain} if plain else {}


def kuberay() -> dict[str, Any]:
    entrypoint = named({"entrypoint": (CODEFLARE, STRING)}, [])["properties"]
    groups = named(GROUPS, [])["properties"]
    specs = {
        "RayJobSpec": closed(dagster("RayJobSpec") | entrypoint, ["entrypoint"]),
        "RayClusterSpec": closed(dagster("RayClusterSpec") | groups, ["headGroupSpec"]),
        "HeadGroupSpec": named(HEAD, ["template"]),
        "WorkerGroupSpec": named(WORKERS, ["groupName", "maxReplicas", "minReplicas", "template"]),
        "AutoscalerOptions": named(SCALING, []),
        "AuthOptions": closed(dagster("AuthOptions"), []),
    }
    metadata = {"$ref": "kubernetes.json#/$defs/V1ObjectMeta"}
    kinds = {
        kind: closed(
            {
                "apiVersion": {"const": "ray.io/v1"},
                "kind": {"const": kind},
                "metadata": metadata,
                "spec": {"$ref": f"#/$defs/{kind}Spec"},
            },
            ["apiVersion", "kind", "metadata", "spec"],
        )
        for kind in ("RayJob", "RayCluster")
    }
    return head("kuberay", "dagster-ray", "codeflare-sdk", "ray") | {"$defs": kinds | specs}


def kubernetes() -> dict[str, Any]:
    from kubernetes import client  # pyright: ignore[reportMissingImports] - not a dependency

    roots = (client.V1PodTemplateSpec, client.V1PersistentVolumeClaim)
    known: dict[str, Any] = {}
    for root in roots:
        schema = root.model_json_schema(by_alias=True)
        known |= schema.pop("$defs") | {root.__name__: schema}
    kept = {name: bare(known[name]) for name in sorted(KUBERNETES)}
    return head("kubernetes", "kubernetes") | {"$defs": kept}


def bare(schema: Any) -> Any:
    """A schema without texts, defaults and null, and without references to types left out."""
    if isinstance(schema, list):
        return [bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return {"$ref": f"#/$defs/{name}"} if name in KUBERNETES else {}
    if "anyOf" in schema:
        (only,) = (part for part in schema["anyOf"] if part != {"type": "null"})
        return bare(only)
    if "properties" in schema:
        fields = {name: bare(field) for name, field in schema["properties"].items()}
        return closed(fields, schema.get("required", []))
    return {name: bare(schema[name]) for name in ("type", "items", "additionalProperties", "enum")
            if name in schema}  # fmt: skip


def ec2() -> dict[str, Any]:
    model = Path(
        str(distribution("botocore").locate_file("botocore/data/ec2/2016-11-15/service-2.json.gz"))
    )
    shapes = json.loads(gzip.decompress(model.read_bytes()))["shapes"]

    def of(name: str, top: bool = False) -> dict[str, Any]:
        shape = shapes[name]
        if shape["type"] == "structure":
            if not top:
                return {"$ref": f"#/$defs/{name}"} if name in EC2 else {}
            members = shape["members"].items()
            return closed({key: of(member["shape"]) for key, member in members}, [])
        if shape["type"] == "list":
            return {"type": "array", "items": of(shape["member"]["shape"])}
        # The lists of instance types are newer on AWS than in any package.
        return {"type": shape["type"]} if shape["type"] in ("integer", "boolean", "string") else {}

    return head("ec2", "botocore") | {"$defs": {name: of(name, top=True) for name in sorted(EC2)}}


def head(name: str, *packages: str) -> dict[str, Any]:
    sources = [f"{package} {version(package)} (Apache-2.0)" for package in packages]
    return {"$id": f"{name}.json", "$comment": "trimmed from " + ", ".join(sources)}


if __name__ == "__main__":
    for made in (kuberay(), kubernetes(), ec2()):
        (HERE / made["$id"]).write_text(json.dumps(made, indent=1) + "\n")
