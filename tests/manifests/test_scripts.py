"""The two scripts of deploy/kubernetes, without a cluster: in which order `apply` does what, and that `secrets` gives
every pod the files that its settings name, and no more."""

import base64
import json
import os
import re
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import overlays
import render

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "deploy/kubernetes"
MOUNTED = "/run/secrets/itsm"
# Writes down what it is asked; a Job ends as the environment says.
KUBECTL = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    kustomize*) echo "kind: List" ;;
    *"get job itsm-migrate"*) echo "$MIGRATE" ;;
    *"get job"*) echo "SuccessCriteriaMet Complete" ;;
esac
"""


class Apply(unittest.TestCase):
    """deploy/kubernetes/apply with a kubectl that only writes down."""

    def apply(self, *arguments, migrate="Complete"):
        with tempfile.TemporaryDirectory() as folder:
            program, calls = Path(folder) / "kubectl", Path(folder) / "calls"
            program.write_text(KUBECTL)
            program.chmod(0o755)
            environment = {**os.environ, "KUBECTL": str(program), "CALLS": str(calls), "MIGRATE": migrate}
            command = [str(SCRIPTS / "apply"), *arguments, str(SCRIPTS / "overlays/dev")]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            words = re.findall(r"itsm/step=[a-z]+|(?:delete|get|logs) job[ /][a-z-]+|rollout", calls.read_text())
            return done.returncode, words

    def test_what_serves_waits_for_the_jobs(self):
        code, calls = self.apply()
        self.assertEqual(code, 0)
        self.assertEqual(
            calls,
            [
                "itsm/step=foundation",
                "delete job itsm-migrate",
                "itsm/step=migrate",
                "get job itsm-migrate",
                "delete job itsm-first-administrator",
                "itsm/step=administrator",
                "get job itsm-first-administrator",
                "itsm/step=services",
                "rollout",
            ],
        )

    def test_a_migration_that_fails_changes_nothing_that_serves(self):
        code, calls = self.apply(migrate="FailureTarget Failed")
        self.assertEqual((code, calls[-1]), (1, "logs job/itsm-migrate"))
        self.assertNotIn("itsm/step=services", calls)

    def test_an_older_version_is_applied_without_migrating(self):
        code, calls = self.apply("--no-migrate")
        self.assertEqual((code, calls), (0, ["itsm/step=foundation", "itsm/step=services", "rollout"]))


class Secrets(unittest.TestCase):
    """deploy/kubernetes/secrets with a folder as `itsm secrets` makes it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root, services = Path(cls.folder.name), overlays.services(ROOT)
        files = ["migrate/database.url", "migrate/secret.key", "postgres/password", "notification/sealing.key"]
        files += [f"provision/{role}.password" for role in ("directory", "directory_worker")]
        files += [f"authority/nats/keys/{seed}.seed" for seed in ("operator", "system", "services", "services-signing")]
        for name in services:
            files += [f"{name}/{name}.password", f"{name}/{name}_worker.password"]
        for name in [*services, "gateway"]:
            files += [f"{name}/keys/{name}.seed", f"{name}/nats/{name}.creds", f"incident/keys/{name}.pub"]
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(f"{file}\n")
        (root / "nats").mkdir()
        (root / "nats/nats.conf").write_text(
            'listen: "0.0.0.0:4222"\njetstream { store_dir: "/data" }\noperator: "eyJ"\nsystem_account: "AB"\n'
            'resolver { type: full }\nresolver_preload {\n  AB: "eyK"\n  AC: "eyL"\n}\n'
        )
        cls.made = cls.run_script(root)
        cls.again = cls.run_script(root)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @staticmethod
    def run_script(folder):
        command = [str(SCRIPTS / "secrets"), str(folder), "--smtp-url", "smtp://u:p@relay:587"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["items"]

    def content(self):
        """The files of each Secret and ConfigMap."""
        return {(item["kind"], item["metadata"]["name"]): item["data"] for item in self.made}

    def test_the_same_folder_gives_the_same(self):
        self.assertEqual(self.made, self.again)
        key = base64.b64decode(self.content()["Secret", "itsm-first-administrator"]["admin.key"]).decode()
        self.assertRegex(key, r"^itsm_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}_[A-Za-z0-9_-]{43}\n$")
        self.assertLess(abs(int(key[5:17], 16) / 1000 - time.time()), 3600)

    def test_trust_is_the_trust_and_no_more(self):
        trust = self.content()["ConfigMap", "itsm-nats-trust"]["trust.conf"]
        self.assertEqual(trust, 'operator: "eyJ"\nsystem_account: "AB"\nresolver_preload {\n  AB: "eyK"\n  AC: "eyL"\n}\n')

    def test_each_secret_is_documented_with_its_keys(self):
        documentation = (ROOT / "deploy/README.md").read_text()
        for (kind, name), data in self.content().items():
            row = re.search(rf"^\| `{name}` \|.*$", documentation, re.M)
            part = name.removeprefix("itsm-")
            self.assertTrue(row, f"{kind} {name} has no row in deploy/README.md")
            for key in data:
                if not key.endswith(".pub"):
                    self.assertIn(f"`{key}`", row[0], f"row of {name}")
            self.assertTrue(part)

    def test_a_pod_has_the_files_that_its_settings_name(self):
        resources = overlays.rendered(ROOT, "dev")
        there = self.content()
        for one in render.of_kind(resources, "ConfigMap"):
            there["ConfigMap", one["metadata"]["name"]] = one["data"]
        for owner, pod in render.pods(resources):
            part = render.component(pod)
            if render.labels(pod).get("app.kubernetes.io/name") != "itsm":
                continue
            with self.subTest(part=part):
                volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
                files = set()
                for source in volumes["secrets"]["projected"]["sources"]:
                    kind, which = ("Secret", source["secret"]) if "secret" in source else ("ConfigMap", source["configMap"])
                    files |= {item["path"] for item in which.get("items", [])} or set(there[kind, which["name"]])
                settings = there["ConfigMap", volumes["settings"]["configMap"]["name"]]["itsm.toml"]
                settings += json.dumps(pod["spec"]["containers"][0])
                named = set(re.findall(rf"{MOUNTED}/([A-Za-z0-9_.-]+)", settings))
                wanted = named | self.by_name(owner, part)
                self.assertEqual(wanted - files, set(), "named, and not there")
                idle = {file for file in files - wanted if not file.endswith((".pub", ".seed"))}
                self.assertEqual(idle, set(), "there, and nobody needs it")

    @staticmethod
    def by_name(owner, part):
        """What a process looks for by its own name."""
        if owner["kind"] == "Job":
            return {"ca.crt"}
        own = {f"{part}.crt", f"{part}.key", "ca.crt"}
        return own | ({"operator.seed"} if part == "provisioner" else {f"{part}.seed", f"{part}.creds"})


if __name__ == "__main__":
    unittest.main()
