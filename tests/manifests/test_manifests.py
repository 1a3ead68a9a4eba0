"""Each check can fail: a copy of what is rendered is broken on purpose, and the check must say so."""

import copy
import re
import unittest
from pathlib import Path

import edges
import overlays
import render
import schema
import whole

ROOT = Path(__file__).resolve().parent.parent.parent
DEFINITIONS = ROOT / ".tools/manifests/definitions.json"


def the(resources, kind, called):
    """One resource."""
    return next(one for one in resources if one["kind"] == kind and one["metadata"]["name"] == called)


def pod(resources, called="itsm-incident", kind="Deployment"):
    """The spec of a workload's pods."""
    return the(resources, kind, called)["spec"]["template"]["spec"]


def container(resources, called="itsm-incident", kind="Deployment"):
    """The one container of a workload."""
    return pod(resources, called, kind)["containers"][0]


def remove(resources, kind, called):
    """Takes a resource away."""
    resources.remove(the(resources, kind, called))


def added(resources, kind, called, **spec):
    """Puts a resource there."""
    resources.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": called}, **spec})


def rule(resources, policy, side, number=0):
    """A rule of a network policy."""
    return the(resources, "NetworkPolicy", policy)["spec"][side][number]


# What breaks each check, by the name of the check, and what it then says.
BREAKS = {
    "schema": [
        (lambda all: pod(all).update(hostNetwrok=True), "no field hostNetwrok"),
        (lambda all: container(all)["ports"][0].update(containerPort="9100x"), "is no integer"),
        (lambda all: the(all, "Certificate", "itsm-sla")["spec"].update(usages=["everything"]), "is none of"),
        (lambda all: the(all, "Service", "itsm-sla")["spec"]["ports"][0].pop("port"), "port is missing"),
        (lambda all: the(all, "Certificate", "itsm-sla")["spec"].update(dnsName=["sla"]), "no field dnsName"),
        (lambda all: the(all, "NetworkPolicy", "itsm-sla").update(apiVersion="networking.k8s.io/v1beta9"), "no schema knows"),
        (lambda all: container(all).update(env=None), "is empty"),
    ],
    "restricted": [
        (lambda all: pod(all).update(hostPID=True), "hostPID"),
        (lambda all: pod(all)["securityContext"].update(runAsNonRoot=False), "runAsNonRoot"),
        (lambda all: pod(all)["securityContext"].update(runAsUser=0), "runAsUser"),
        (lambda all: pod(all)["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (lambda all: pod(all).update(automountServiceAccountToken=True), "automountServiceAccountToken"),
        (lambda all: pod(all).pop("serviceAccountName"), "ServiceAccount"),
        (lambda all: pod(all).pop("enableServiceLinks"), "enableServiceLinks"),
        (lambda all: pod(all)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "hostPath"),
        (lambda all: container(all)["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
        (lambda all: container(all)["securityContext"].update(privileged=True), "privileged"),
        (lambda all: container(all)["securityContext"]["capabilities"].update(drop=["KILL"]), "capabilities"),
        (lambda all: container(all)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]), "capabilities"),
        (lambda all: container(all)["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem"),
        (lambda all: container(all)["ports"][0].update(hostPort=1), "hostPort"),
        (lambda all: container(all, "itsm-migrate", "Job")["securityContext"].clear(), "capabilities"),
        (lambda all: pod(all).update(initContainers=[{"name": "x", "image": "x:1"}]), "container x"),
    ],
    "bounded": [
        (lambda all: container(all)["resources"]["limits"].pop("memory"), "limits.memory"),
        (lambda all: container(all)["resources"].pop("requests"), "requests.cpu"),
        (lambda all: container(all)["resources"]["requests"].update(memory="2Gi"), "more memory than its limit"),
    ],
    "images": [
        (lambda all: container(all).update(image="itsm:latest"), "no tag"),
        (lambda all: container(all).update(image="registry.example.com:5000/itsm"), "no tag"),
    ],
    "probed": [
        (lambda all: container(all).pop("livenessProbe"), "livenessProbe is missing"),
        (lambda all: container(all)["readinessProbe"].update(exec={"command": ["x"]}), "asks in 2 ways"),
        (lambda all: container(all)["startupProbe"]["httpGet"].update(port="web"), "which there is not"),
    ],
    "drained": [
        (lambda all: container(all).pop("lifecycle"), "preStop must sleep"),
        (lambda all: pod(all).update(terminationGracePeriodSeconds=15), "grace"),
    ],
    "spread": [
        (lambda all: pod(all).pop("topologySpreadConstraints"), "needs topologySpreadConstraints"),
        (lambda all: pod(all).pop("affinity"), "needs topologySpreadConstraints"),
        (
            lambda all: pod(all)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].pop("app.kubernetes.io/component"),
            "among others",
        ),
    ],
    "companions": [
        (lambda all: remove(all, "ServiceAccount", "itsm-sla"), "no ServiceAccount"),
        (lambda all: the(all, "ServiceAccount", "itsm-sla").update(automountServiceAccountToken=True), "without a token"),
        (lambda all: remove(all, "PodDisruptionBudget", "itsm-sla"), "0 PodDisruptionBudgets"),
        (lambda all: remove(all, "NetworkPolicy", "itsm-sla"), "0 NetworkPolicies"),
        (lambda all: remove(all, "HorizontalPodAutoscaler", "itsm-sla"), "HorizontalPodAutoscaler"),
        (lambda all: the(all, "Deployment", "itsm-sla")["spec"].update(replicas=2), "HorizontalPodAutoscaler"),
        (
            lambda all: the(all, "Deployment", "itsm-sla")["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
            "also selects",
        ),
    ],
    "connections": [
        (lambda all: the(all, "HorizontalPodAutoscaler", "itsm-sla")["spec"].update(maxReplicas=9), "role_connections"),
    ],
    "referenced": [
        (lambda all: pod(all)["volumes"].append({"name": "x", "secret": {"secretName": "unheard"}}), "Secret unheard"),
        (lambda all: pod(all)["volumes"].append({"name": "x", "configMap": {"name": "unheard"}}), "ConfigMap unheard"),
        (
            lambda all: container(all).update(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "unheard", "key": "a"}}}]),
            "Secret unheard",
        ),
        (lambda all: remove(all, "Certificate", "itsm-sla"), "itsm-sla-tls"),
        (lambda all: remove(all, "PersistentVolumeClaim", "itsm-provisioner"), "PersistentVolumeClaim"),
        (lambda all: container(all)["volumeMounts"].pop(), "mounted"),
        (lambda all: added(all, "Secret", "itsm-sla", data={"a": "Yg=="}), "by reference only"),
        (lambda all: added(all, "ExternalSecret", "unheard", spec={}), "not documented"),
    ],
    "least_known": [
        (
            lambda all: pod(all)["volumes"].append({"name": "x", "secret": {"secretName": "itsm-provisioner"}}),
            "itsm-provisioner, which is another's",
        ),
        (lambda all: pod(all)["volumes"].append({"name": "x", "secret": {"secretName": "itsm-migrate"}}), "another's"),
        (lambda all: pod(all)["volumes"].append({"name": "x", "secret": {"secretName": "itsm-sla-tls"}}), "another's"),
    ],
    "steps": [
        (lambda all: render.labels(the(all, "Service", "itsm-sla")).pop("itsm/step"), "itsm/step"),
        (lambda all: render.labels(the(all, "Deployment", "itsm-sla")).update({"itsm/step": "migrate"}), "its step is"),
        (lambda all: the(all, "Deployment", "itsm-sla")["metadata"].pop("annotations"), "its wave is 0"),
    ],
    "addresses": [
        (lambda all: remove(all, "Service", "itsm-sla"), "no such Service"),
        (lambda all: the(all, "Service", "itsm-sla")["spec"].pop("clusterIP"), "not balanced"),
        (lambda all: the(all, "Service", "itsm-sla")["spec"]["ports"][0].update(targetPort="web"), "no port web"),
        (lambda all: the(all, "Service", "itsm-sla")["spec"]["selector"].pop("app.kubernetes.io/component"), "kinds of pods"),
        (lambda all: the(all, "Certificate", "itsm-sla")["spec"].update(dnsNames=["incident"]), "no Certificate names sla"),
    ],
    "denied": [
        (lambda all: remove(all, "NetworkPolicy", "deny-all"), "denies everything"),
        (lambda all: the(all, "NetworkPolicy", "deny-all")["spec"].update(policyTypes=["Ingress"]), "denies everything"),
        (lambda all: the(all, "NetworkPolicy", "deny-all")["spec"].update(egress=[{}]), "denies everything"),
    ],
    "edges": [
        (lambda all: rule(all, "itsm-sla", "egress").pop("ports"), "without peers or ports"),
        (lambda all: rule(all, "itsm-sla", "ingress").pop("from"), "without peers or ports"),
        (
            lambda all: rule(all, "itsm-sla", "egress")["to"][0]["podSelector"]["matchExpressions"][0]["values"].append("change"),
            "sla may call change:9100, which does not let it in",
        ),
        (
            lambda all: rule(all, "itsm-sla", "ingress")["from"][0]["podSelector"]["matchExpressions"][0]["values"].append("alert"),
            "sla:9100 lets alert in, which may not call it",
        ),
        (lambda all: rule(all, "itsm-sla", "egress", 1)["ports"].append({"port": 22}), "sla to postgres:22 is allowed"),
        (lambda all: remove(all, "NetworkPolicy", "itsm-notification"), "no policy allows it"),
        (lambda all: rule(all, "itsm-notification", "egress", 3)["to"][0]["ipBlock"].pop("except"), "notification to anywhere:443"),
        (lambda all: the(all, "NetworkPolicy", "itsm-sla")["spec"].update(policyTypes=["Ingress"]), "egress is not among its types"),
        (
            lambda all: the(all, "NetworkPolicy", "itsm-sla")["spec"]["podSelector"]["matchLabels"].update(a="b"),
            "takes no pod",
        ),
    ],
}


class Checks(unittest.TestCase):
    """The checks of an overlay."""

    @classmethod
    def setUpClass(cls):
        cls.resources = overlays.rendered(ROOT, "dev")
        cls.checks = overlays.checks(ROOT, "dev", DEFINITIONS)

    def test_each_check_can_fail(self):
        self.assertEqual(set(BREAKS), set(self.checks))
        for check, breaks in BREAKS.items():
            for number, (broken, says) in enumerate(breaks):
                with self.subTest(check=check, number=number):
                    resources = copy.deepcopy(self.resources)
                    broken(resources)
                    errors = list(self.checks[check](resources))
                    self.assertTrue(any(says in error for error in errors), f"{says!r} is not in {errors}")

    def test_what_is_committed_passes(self):
        for check, judge in self.checks.items():
            self.assertEqual(list(judge(self.resources)), [], check)


class Beside(unittest.TestCase):
    """What stands beside the overlays."""

    def test_the_values_of_the_nats_chart_can_be_wrong(self):
        path = ROOT / overlays.FOLDER / "overlays/production/nats-values.yaml"
        breaks = [
            (lambda all: all["config"]["cluster"].update(replicas=1), "three servers"),
            (lambda all: all["config"]["jetstream"]["merge"].update(sync_interval="2m"), "sync_interval"),
            (lambda all: all["config"]["nats"]["tls"]["merge"].update(verify=False), "certificates"),
            (lambda all: all["podTemplate"]["merge"]["spec"]["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
            (lambda all: all["container"]["merge"]["resources"].pop("limits"), "limits.cpu"),
            (lambda all: all["reloader"]["image"].update(tag="latest"), "no tag"),
            (lambda all: all["natsBox"].update(enabled=True), "no shell"),
            (lambda all: all["podTemplate"]["merge"]["metadata"]["labels"].clear(), "itsm/store"),
        ]
        for broken, says in breaks:
            values = render.read(path)[0]
            broken(values)
            self.assertTrue(any(says in error for error in whole.three_nats(values)), says)

    def test_a_call_in_the_code_needs_an_edge_and_an_edge_a_call(self):
        text = (ROOT / overlays.FOLDER / "edges.txt").read_text()
        services = overlays.services(ROOT)
        less = re.sub(r"^sla +catalog,incident", "sla catalog", text, flags=re.M)
        self.assertEqual(list(edges.as_the_code(ROOT, services, less)), ["sla calls incident in the code, and not in edges.txt"])
        more = text + "\nsla change 9100 all # nobody knows\n"
        self.assertEqual(list(edges.as_the_code(ROOT, services, more)), ["sla calls change in edges.txt, and not in the code"])

    def test_the_matrix_says_why(self):
        for line in ["sla change 9100 all", "sla change 9100 # because", "sla change 9100 all #"]:
            with self.assertRaises(ValueError, msg=line):
                edges.matrix(line, "dev", [])

    def test_a_word_of_a_schema_that_is_not_understood_is_no_pass(self):
        schemas = schema.Schemas(DEFINITIONS, ROOT / "tests/manifests/custom.json")
        schemas.kinds["v1", "Odd"] = {"type": "object", "not": {}}
        with self.assertRaises(ValueError):
            schemas.errors({"apiVersion": "v1", "kind": "Odd"})


if __name__ == "__main__":
    unittest.main()
