from __future__ import annotations

from pathlib import Path

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
DOCUMENTS = Path(__file__).parent / "documents"


def test_a_job_that_mlrun_exported_is_carried_over() -> None:
    leftovers: list[str] = []
    function = loads((DOCUMENTS / "mlrun-job.yaml").read_text(), leftovers=leftovers)
    assert function == Function(
        metadata=Metadata(name="trainer", project="iris"),
        spec=FunctionSpec(
            kind="job",
            handler="train",
            source=Source(code=CODE),
            build=Build(base_image="mlrun/mlrun", requirements=["pandas", "scikit-learn"]),
            env=[EnvVar(name="A", value="1")],
            resources=Resources(requests={"memory": "1Mi", "cpu": "25m"}, limits={"memory": "20Gi"}),
            volumes=[Volume(name="vol", mount_path="/data", source=VolumeSource(persistent_volume_claim="claim"))],
            scheduling=Scheduling(node_selector={"pool": "big"}, priority_class="high"),
        ),
    )
    assert leftovers == [
        "metadata.categories: ['ml']",
        "spec.preemption_mode: 'prevent'",
        "spec.volume_mounts[0].mountPath: '/lost'",
        "spec.volume_mounts[0].name: 'lost'",
        "spec.volumes[1].name: 'lost'",
        "spec.volumes[1].nfs.server: 'a'",
    ]
    check(function)


def test_a_real_time_function_that_mlrun_exported_is_carried_over() -> None:
    leftovers: list[str] = []
    function = loads((DOCUMENTS / "mlrun-remote.yaml").read_text(), leftovers=leftovers)
    scale = Scale(min=1, max=4, workers=8, concurrency=8)
    assert function.spec == FunctionSpec(handler="server:handler", source=Source(code=CODE), scale=scale)
    assert leftovers == ['spec.config["spec.disable"]: True', "spec.triggers.http.url: 'x'"]
