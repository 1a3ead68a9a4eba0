"""What an overlay is when it is rendered, and how to find things in it."""

import subprocess
from pathlib import Path

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def load(text):
    """The documents of a YAML stream."""
    return [document for document in yaml.load_all(text, Loader=LOADER) if document]


def render(folder):
    """The resources of a Kustomize folder."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"kubectl kustomize {folder}: {done.stderr.strip()}")
    return load(done.stdout)


def read(path):
    """The documents of a YAML file."""
    return load(Path(path).read_text())


def name(resource):
    """How a resource is called in messages."""
    return f"{resource.get('kind')}/{resource.get('metadata', {}).get('name')}"


def of_kind(resources, *kinds):
    """The resources of some kinds."""
    return [resource for resource in resources if resource["kind"] in kinds]


def labels(resource):
    """The labels of a resource or of a pod's template."""
    return resource.get("metadata", {}).get("labels") or {}


def template(resource):
    """The pod's template of a workload."""
    spec = resource["spec"]
    return (spec["jobTemplate"]["spec"] if resource["kind"] == "CronJob" else spec)["template"]


def pods(resources):
    """Each workload with its pod's template."""
    return [(resource, template(resource)) for resource in of_kind(resources, *WORKLOADS)]


def component(pod):
    """What a pod's template is, in a word."""
    found = labels(pod)
    return found.get("app.kubernetes.io/component") or found.get("itsm/store")


def selects(selector, found):
    """Whether a label selector takes something with these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if found.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        has, values = rule["key"] in found, rule.get("values", [])
        fits = {
            "In": found.get(rule["key"]) in values,
            "NotIn": found.get(rule["key"]) not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }[rule["operator"]]
        if not fits:
            return False
    return True
