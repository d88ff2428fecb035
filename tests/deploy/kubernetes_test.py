#!/usr/bin/env python3
"""The Kubernetes files parse and hold what batch/v1 asks of a Job, and their flags are flags of this program. Skipped (77)
where python3-yaml is not installed."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

try:
    import yaml
except ImportError:
    print("SKIP: python3-yaml is not installed")
    sys.exit(77)

SOURCE = pathlib.Path(os.environ["THIMBLE_SOURCE"])
FOLDER = SOURCE / "deploy/kubernetes"
JOB_KEYS = {"completionMode", "completions", "parallelism", "backoffLimit", "ttlSecondsAfterFinished", "template",
            "activeDeadlineSeconds", "backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy", "suspend"}
POD_KEYS = {"restartPolicy", "terminationGracePeriodSeconds", "containers", "volumes", "nodeSelector", "tolerations",
            "securityContext", "serviceAccountName", "initContainers", "affinity"}
CONTAINER_KEYS = {"name", "image", "env", "command", "args", "resources", "volumeMounts", "workingDir", "imagePullPolicy"}


class Kubernetes(unittest.TestCase):
    def jobs(self):
        for path in sorted(FOLDER.glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                yield path.name, document

    def container(self, job):
        containers = job["spec"]["template"]["spec"]["containers"]
        self.assertEqual(len(containers), 1)
        return containers[0]

    def test_documents_have_the_shape_of_jobs(self):
        names = []
        for name, job in self.jobs():
            with self.subTest(name):
                self.assertEqual((job["apiVersion"], job["kind"]), ("batch/v1", "Job"))
                names.append(job["metadata"]["name"])
                self.assertRegex(names[-1], r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
                self.assertLessEqual(set(job["spec"]), JOB_KEYS)
                pod = job["spec"]["template"]["spec"]
                self.assertLessEqual(set(pod), POD_KEYS)
                self.assertIn(pod["restartPolicy"], ("OnFailure", "Never"))  # the others are refused for Jobs
                volumes = {v["name"] for v in pod["volumes"]}
                container = self.container(job)
                self.assertLessEqual(set(container), CONTAINER_KEYS)
                for mount in container["volumeMounts"]:
                    self.assertIn(mount["name"], volumes)
                for entry in container.get("env", []):
                    self.assertIsInstance(entry["value"], str, "environment values are strings")
                for argument in container["command"] + container["args"]:
                    self.assertIsInstance(argument, str)
                for kind in container["resources"].values():
                    for amount in kind.values():
                        self.assertRegex(str(amount), r"^[0-9.]+(m|[KMGT]i?)?$")
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(names), 2)

    def test_the_indexed_job_covers_every_shard(self):
        job = dict(self.jobs())["eval-job.yaml"]
        spec, container = job["spec"], self.container(job)
        self.assertEqual(spec["completionMode"], "Indexed")
        self.assertLessEqual(spec["parallelism"], spec["completions"])
        env = {e["name"]: e["value"] for e in container["env"]}
        self.assertEqual(env["SHARDS"], str(spec["completions"]))
        shard = container["args"][container["args"].index("--shard") + 1]
        self.assertEqual(shard, "$(JOB_COMPLETION_INDEX)/$(SHARDS)")

    def test_arguments_are_those_of_the_program(self):
        help_text = subprocess.run([os.environ["THIMBLE"], "eval", "--help"], capture_output=True, text=True).stdout
        folders = set()
        for _, job in self.jobs():
            container = self.container(job)
            self.assertEqual(container["command"] + container["args"][:1], ["thimble", "eval"])
            for argument in container["args"]:
                if argument.startswith("-"):
                    self.assertTrue(re.search(rf"(?<![-\w]){re.escape(argument)}(?![-\w])", help_text), argument)
            folders.add(next(container["args"][i + 1] for i, a in enumerate(container["args"]) if a in ("-o", "--merge")))
        self.assertEqual(len(folders), 1, "both jobs are about one folder")


if __name__ == "__main__":
    unittest.main()
