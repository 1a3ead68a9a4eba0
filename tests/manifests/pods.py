"""What every pod must be: restricted, bounded, probed, of a known image, and drained before it ends."""

import re

from render import component, labels, name, of_kind, pods, selects

VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret", "ephemeral", "csi", "downwardAPI"}
# How long a process takes at most to end after SIGTERM, and what is left for the kernel.
DRAIN_SECONDS = 10
AIR_SECONDS = 5


def containers(pod):
    """All containers of a pod."""
    spec = pod["spec"]
    return spec.get("initContainers", []) + spec.get("containers", []) + spec.get("ephemeralContainers", [])


def restricted(resources):
    """The Pod Security Standard "restricted", and three rules of ours: no token, a root file system that is only
    read, and no variables of services."""
    for owner, pod in pods(resources):
        for error in pod_restricted(pod["spec"]):
            yield f"{name(owner)}: {error}"
        for container in containers(pod):
            for error in container_restricted(container, pod["spec"].get("securityContext", {})):
                yield f"{name(owner)}, container {container['name']}: {error}"


def pod_restricted(spec):
    """What of a pod's own is not restricted."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is not restricted"
    context = spec.get("securityContext", {})
    if context.get("sysctls") or context.get("windowsOptions", {}).get("hostProcess"):
        yield "sysctls and host processes are not restricted"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds - VOLUMES))} is not restricted"
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken must be false"
    if not spec.get("serviceAccountName"):
        yield "it has no ServiceAccount of its own"
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks must be false: variables of other services would look like settings"


def container_restricted(container, pod):
    """What of a container is not restricted; what it does not say, the pod says."""
    own = container.get("securityContext", {})
    context = {**pod, **own}
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot must be true"
    if not isinstance(context.get("runAsUser"), int) or context["runAsUser"] == 0:
        yield "runAsUser must be a number that is not 0"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile must be RuntimeDefault"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    if own.get("privileged") or own.get("procMount", "Default") != "Default":
        yield "privileged and procMount are not restricted"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities must drop ALL and add none"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem must be true"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "a hostPort is not restricted"


def bounded(resources):
    """Requests and limits of every container, and what a limit must be at least."""
    for owner, pod in pods(resources):
        for container in containers(pod):
            for error in bounds(container):
                yield f"{name(owner)}, container {container['name']}: {error}"


def bounds(container):
    """What of a container's resources is missing."""
    resources = container.get("resources", {})
    for which in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if what not in resources.get(which, {}):
                yield f"resources.{which}.{what} is missing"
    for what in ("cpu", "memory"):
        if quantity(resources.get("requests", {}).get(what, 0)) > quantity(resources.get("limits", {}).get(what, "1Ei")):
            yield f"requests more {what} than its limit"


def quantity(text):
    """A quantity of Kubernetes as a number."""
    found = re.fullmatch(r"([0-9.]+)(m|k|M|G|T|Ki|Mi|Gi|Ti|Ei)?", str(text))
    if not found:
        raise ValueError(f"{text!r} is no quantity")
    unit = {None: 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    unit.update({"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Ei": 2**60})
    return float(found[1]) * unit[found[2]]


def images(resources):
    """An image has a tag that stands still, or a digest."""
    for owner, pod in pods(resources):
        for container in containers(pod):
            error = image(container["image"])
            if error:
                yield f"{name(owner)}, container {container['name']}: {error}"


def image(text):
    """What is wrong with the name of an image."""
    if "@sha256:" in text:
        return None
    tag = text.rpartition("/")[2].partition(":")[2]
    if not tag or tag in ("latest", "main", "master", "edge", "stable"):
        return f"image {text} has no tag that stands still"
    return None


def probed(resources):
    """Three probes for what runs on; each asks a port that there is, in one way."""
    for owner, pod in pods(resources):
        for container in pod["spec"]["containers"]:
            where = f"{name(owner)}, container {container['name']}"
            ports = {port["name"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind)
                if probe is None:
                    if owner["kind"] != "Job":
                        yield f"{where}: {kind} is missing"
                    continue
                ways = [way for way in ("httpGet", "tcpSocket", "grpc", "exec") if way in probe]
                if len(ways) != 1:
                    yield f"{where}: {kind} asks in {len(ways)} ways"
                    continue
                port = probe[ways[0]].get("port")
                if isinstance(port, str) and port not in ports:
                    yield f"{where}: {kind} asks the port {port}, which there is not"


def drained(resources):
    """A pod that is called leaves the Services first, and then has time for what is under way."""
    for owner, pod in pods(resources):
        called = any(
            selects({"matchLabels": service["spec"]["selector"]}, labels(pod)) for service in of_kind(resources, "Service")
        )
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        pause = 0
        for container in pod["spec"]["containers"]:
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if owner["kind"] == "Deployment" and called and pause < 1:
                yield f"{name(owner)}, container {container['name']}: preStop must sleep, its callers do not know yet"
        if grace < pause + DRAIN_SECONDS + AIR_SECONDS and owner["kind"] != "Job":
            yield f"{name(owner)}: {grace} s of grace are less than {pause} s of preStop, {DRAIN_SECONDS} s to drain and air"


def spread(resources):
    """Replicas of a Deployment stand apart."""
    for owner, pod in pods(of_kind(resources, "Deployment")):
        spec = pod["spec"]
        rules = list(spec.get("topologySpreadConstraints", []))
        terms = spec.get("affinity", {}).get("podAntiAffinity", {}).get("preferredDuringSchedulingIgnoredDuringExecution", [])
        if not rules or not terms:
            yield f"{name(owner)}: it needs topologySpreadConstraints and podAntiAffinity"
        for rule in rules + [term["podAffinityTerm"] for term in terms]:
            other = {"app.kubernetes.io/name": "itsm", "app.kubernetes.io/component": "another"}
            if not selects(rule["labelSelector"], labels(pod)) or selects(rule["labelSelector"], other):
                yield f"{name(owner)}: it is spread among others than its own ({component(pod)})"
