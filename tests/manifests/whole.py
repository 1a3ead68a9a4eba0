"""What must fit together: companions of each Deployment, references, secrets, steps, names and numbers."""

import re

from pods import container_restricted, image, pod_restricted
from pods import bounds as container_bounds
from render import component, labels, name, of_kind, pods, selects

STEPS = ["foundation", "migrate", "administrator", "services"]
WAVE = "argocd.argoproj.io/sync-wave"
# Connections that a process holds for each of its database roles (kit/src/db.rs).
CONNECTIONS = 8


def companions(resources):
    """Each Deployment has its account, budget, policy, and autoscaler or a number of its own."""
    for deployment, pod in pods(of_kind(resources, "Deployment")):
        account = pod["spec"].get("serviceAccountName")
        accounts = [found for found in of_kind(resources, "ServiceAccount") if found["metadata"]["name"] == account]
        if not accounts or accounts[0].get("automountServiceAccountToken") is not False:
            yield f"{name(deployment)}: no ServiceAccount without a token"
        budgets = [found for found in of_kind(resources, "PodDisruptionBudget") if takes(found["spec"]["selector"], pod)]
        if len(budgets) != 1:
            yield f"{name(deployment)}: {len(budgets)} PodDisruptionBudgets"
        policies = [
            found
            for found in of_kind(resources, "NetworkPolicy")
            if found["spec"]["podSelector"] and takes(found["spec"]["podSelector"], pod) and found["metadata"]["name"] != "itsm-everyone"
        ]
        if len(policies) != 1:
            yield f"{name(deployment)}: {len(policies)} NetworkPolicies of its own"
        scalers = [
            found
            for found in of_kind(resources, "HorizontalPodAutoscaler")
            if found["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        ]
        if len(scalers) + ("replicas" in deployment["spec"]) != 1:
            yield f"{name(deployment)}: it needs either one HorizontalPodAutoscaler or a number of replicas"
        if not takes(deployment["spec"]["selector"], pod):
            yield f"{name(deployment)}: it does not select its own pods"
        others = [other for other, found in pods(resources) if found is not pod and takes(deployment["spec"]["selector"], found)]
        if others:
            yield f"{name(deployment)}: it also selects the pods of {name(others[0])}"


def takes(selector, pod):
    """Whether a selector takes a pod."""
    return selects(selector, labels(pod))


def connections(resources, role_connections):
    """A role has connections for as many pods as there can be while they roll."""
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        wanted = (scaler["spec"]["maxReplicas"] + 1) * CONNECTIONS
        if wanted > role_connections:
            yield f"{name(scaler)}: {wanted} connections for each role, and database.role_connections is {role_connections}"


def references(spec):
    """The Secrets and ConfigMaps of a pod as (kind, name)."""
    for volume in spec.get("volumes", []):
        parts = [volume, *volume.get("projected", {}).get("sources", [])]
        for part in parts:
            if "secret" in part:
                yield "Secret", part["secret"].get("secretName") or part["secret"].get("name")
            if "configMap" in part:
                yield "ConfigMap", part["configMap"]["name"]
    for container in spec.get("initContainers", []) + spec["containers"]:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if key in source:
                    yield kind, source[key]["name"]
        for source in container.get("envFrom", []):
            for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if key in source:
                    yield kind, source[key]["name"]


def made(resources):
    """What is there when all is applied: by itself, or by an operator."""
    found = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    for certificate in of_kind(resources, "Certificate"):
        found.add(("Secret", certificate["spec"]["secretName"]))
    return found


def referenced(resources, documentation):
    """Everything referred to is made here or stands in the documentation; no secret stands here itself."""
    there = made(resources)
    for owner, pod in pods(resources):
        for kind, which in sorted(set(references(pod["spec"]))):
            if (kind, which) not in there and f"`{which}`" not in documentation:
                yield f"{name(owner)}: {kind} {which} is neither made here nor documented in deploy/README.md"
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"].get("volumes", []) if "persistentVolumeClaim" in volume]
        for claim in claims:
            if ("PersistentVolumeClaim", claim) not in there:
                yield f"{name(owner)}: there is no PersistentVolumeClaim {claim}"
        for container in pod["spec"]["containers"]:
            volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
            volumes |= {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            for missing in sorted(mounts ^ volumes):
                yield f"{name(owner)}: the volume {missing} is mounted and not there, or there and not mounted"
    for secret in of_kind(resources, "Secret"):
        yield f"{name(secret)}: secrets come by reference only"
    for resource in of_kind(resources, "ExternalSecret", "SealedSecret"):
        if f"`{resource['metadata']['name']}`" not in documentation:
            yield f"{name(resource)}: it is not documented in deploy/README.md"


def least_known(resources):
    """A Secret `itsm-<part>` is read by that part alone: so only `migrate` and the provisioner hold the owner's way
    into the database, and only the provisioner the keys that NATS trusts."""
    parts = {component(pod) for _, pod in pods(resources)}
    for owner, pod in pods(resources):
        for kind, which in set(references(pod["spec"])):
            of = re.fullmatch(r"itsm-([a-z-]+?)(-tls)?", which)
            if kind == "Secret" and of and of[1] in parts - {"postgres", "nats"} and of[1] != component(pod):
                yield f"{name(owner)}: it reads {which}, which is another's"


def steps(resources):
    """Everything says when it is applied; Jobs and what serves come after what they need."""
    wanted = {"Deployment": "services", "StatefulSet": "foundation"}
    for resource in resources:
        step = labels(resource).get("itsm/step")
        if step not in STEPS:
            yield f"{name(resource)}: the label itsm/step says {step}, not one of {', '.join(STEPS)}"
        elif wanted.get(resource["kind"], step) != step:
            yield f"{name(resource)}: its step is {wanted[resource['kind']]}, not {step}"
    jobs = [wave(job) for job in of_kind(resources, "Job")]
    for deployment in of_kind(resources, "Deployment"):
        if wave(deployment) <= max(jobs):
            yield f"{name(deployment)}: its wave is {wave(deployment)}, and the Jobs' are {jobs}"


def wave(resource):
    """When Argo CD applies it."""
    return int(resource["metadata"].get("annotations", {}).get(WAVE, 0))


def addresses(resources, settings):
    """Hosts in the settings are Services; certificates name the part that shows them."""
    services = {service["metadata"]["name"]: service for service in of_kind(resources, "Service")}
    for host, port in re.findall(r"https://(itsm-[a-z-]+):(\d+)", settings):
        found = services.get(host)
        if not found or int(port) not in [entry["port"] for entry in found["spec"]["ports"]]:
            yield f"the settings name {host}:{port}, and there is no such Service"
        elif found["spec"].get("clusterIP") != "None":
            yield f"{name(found)}: it has an address of its own, so calls are not balanced"
    for service in services.values():
        pods_of = [pod for _, pod in pods(resources) if takes({"matchLabels": service["spec"]["selector"]}, pod)]
        ports = {port["name"] for pod in pods_of for container in pod["spec"]["containers"] for port in container.get("ports", [])}
        if len(pods_of) != 1:
            yield f"{name(service)}: it selects {len(pods_of)} kinds of pods"
        for entry in service["spec"]["ports"]:
            target = entry.get("targetPort", entry["port"])
            if isinstance(target, str) and target not in ports:
                yield f"{name(service)}: the pods have no port {target}"
    certificates = {found["spec"]["secretName"]: found["spec"].get("dnsNames", []) for found in of_kind(resources, "Certificate")}
    for owner, pod in pods(of_kind(resources, "Deployment")):
        if component(pod) not in certificates.get(f"itsm-{component(pod)}-tls", []):
            yield f"{name(owner)}: no Certificate names {component(pod)}"


def three_nats(values):
    """The values for NATS' chart: three servers, nothing lost in a power cut, restricted, bounded."""
    config = values["config"]
    if config["cluster"]["replicas"] != 3 or not config["cluster"]["enabled"]:
        yield "nats-values.yaml: three servers are needed"
    if config["jetstream"]["merge"]["sync_interval"] != "always":
        yield "nats-values.yaml: sync_interval must be always"
    for part in ("cluster", "nats"):
        tls = config[part]["tls"]
        if not tls["enabled"] or tls["merge"].get("verify") is not True:
            yield f"nats-values.yaml: {part} must ask for certificates"
    spec = values["podTemplate"]["merge"]["spec"]
    pod = {**spec, "serviceAccountName": "made by the chart", "enableServiceLinks": False}
    for error in pod_restricted(pod):
        yield f"nats-values.yaml: {error}"
    for part in ("container", "reloader", "promExporter"):
        for check in (container_restricted(values[part]["merge"], spec["securityContext"]), container_bounds(values[part]["merge"])):
            for error in check:
                yield f"nats-values.yaml, {part}: {error}"
        error = image(f"{part}:{values[part]['image']['tag']}")
        if error:
            yield f"nats-values.yaml: {error}"
    if values["natsBox"]["enabled"]:
        yield "nats-values.yaml: no shell with credentials"
    if labels(values["podTemplate"]["merge"]).get("itsm/store") != "nats":
        yield "nats-values.yaml: the policies know the pods by itsm/store"
