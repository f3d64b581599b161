from __future__ import annotations

import base64

from trimtab.spec import (
    Build,
    EnvVar,
    Function,
    FunctionSpec,
    Metadata,
    Resources,
    Scale,
    Scheduling,
    Source,
    Volume,
    VolumeSource,
    check,
    loads,
)

CODE = "def train(context, p1=1):\n    context.log_result('a', p1)\n"
EMBEDDED = base64.b64encode(CODE.encode()).decode()
JOB = f"""\
kind: job
metadata: {{name: trainer, tag: latest, hash: abc, project: iris, labels: {{}}, categories: [ml]}}
spec:
  command: ''
  args: []
  image: mlrun/mlrun
  build:
    functionSourceCode: {EMBEDDED}
    commands: [python -m pip install scikit-learn]
    requirements: [pandas]
    origin_filename: /home/me/trainer.py
  default_handler: train
  description: ''
  env: [{{name: A, value: '1'}}]
  resources: {{requests: {{memory: 1Mi, cpu: 25m}}, limits: {{memory: 20Gi, cpu: ''}}}}
  volumes: [{{name: vol, persistentVolumeClaim: {{claimName: claim}}}}, {{name: lost, nfs: {{server: a}}}}]
  volume_mounts: [{{name: vol, mountPath: /data}}, {{name: lost, mountPath: /lost}}]
  node_selector: {{pool: big}}
  priority_class_name: high
  preemption_mode: prevent
  entry_points: {{train: {{name: train}}}}
verbose: false
"""
REMOTE = f"""\
kind: remote
metadata: {{name: server, project: default}}
spec:
  min_replicas: 1
  max_replicas: 4
  function_handler: server:handler
  build: {{functionSourceCode: {EMBEDDED}}}
  config: {{spec.triggers.http: {{kind: http, maxWorkers: 8, url: x}}, spec.disable: true}}
"""


def test_a_job_that_mlrun_exported_is_carried_over() -> None:
    leftovers: list[str] = []
    function = loads(JOB, leftovers=leftovers)
    assert function == Function(
        metadata=Metadata(name="trainer", project="iris"),
        spec=FunctionSpec(
            kind="job",
            handler="train",
            source=Source(code=CODE),
            build=Build(image="mlrun/mlrun", requirements=["pandas", "scikit-learn"]),
            env=[EnvVar(name="A", value="1")],
            resources=Resources(requests={"memory": "1Mi", "cpu": "25m"}, limits={"memory": "20Gi"}),
            volumes=[Volume(name="vol", mount_path="/data", source=VolumeSource(persistent_volume_claim="claim"))],
            scheduling=Scheduling(node_selector={"pool": "big"}, priority_class="high"),
        ),
    )
    assert leftovers == [
        "metadata.categories: ['ml']",
        "spec.preemption_mode: 'prevent'",
        "spec.volumes[1].name: 'lost'",
        "spec.volumes[1].nfs.server: 'a'",
    ]
    check(function)


def test_a_real_time_function_that_mlrun_exported_is_carried_over() -> None:
    leftovers: list[str] = []
    function = loads(REMOTE, leftovers=leftovers)
    scale = Scale(min=1, max=4, workers=8, concurrency=8)
    assert function.spec == FunctionSpec(handler="server:handler", source=Source(code=CODE), scale=scale)
    assert leftovers == ['spec.config["spec.disable"]: True', "spec.triggers.http.url: 'x'"]
