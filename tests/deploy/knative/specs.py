"""Functions that the golden manifests are made of."""

from __future__ import annotations

from trimtab.spec import Function, check, loads

_HEAD = "apiVersion: trimtab.dev/v1\nkind: Function\n"

SPECS = {
    "streamed": """
metadata: {name: streamed}
spec:
  handler: hello
  source: {path: src}
  env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: redis, key: password}}}]
  scale: {concurrency: 4}
  triggers:
    - {kind: stream, name: orders, url: 'redis://:$(PASSWORD)@redis:6379/0?stream=orders', batch: 100, wait: 1s, order: none,
       start: earliest, path: /in, retry: {attempts: 3, timeout: 20s, deadLetter: orders-dead}}
    - {kind: stream, name: many, url: 'kafka://kafka:9092?stream=t', consumers: {max: 3}}
    - {kind: stream, name: "off", url: 'nats://nats?stream=ORDERS', disabled: true}
""",
    "models": """
metadata: {name: models}
spec:
  kind: serving
  models: [{key: churn, path: 'store://models/default/churn:1', params: {threshold: 0.5}}]
  tracking: {sample: 0.5}
  sink: {broker: default}
""",
    "plain": """
metadata: {name: hello}
spec: {handler: hello:handler, source: {path: hello.py}}
""",
    "scaled": """
metadata: {name: scaled, project: shop, labels: {team: a}, annotations: {example.com/owner: ada}}
spec:
  handler: main:app
  source: {path: src}
  visibility: cluster-local
  rolloutDuration: 2m
  scale: {min: 1, max: 5, initial: 2, activation: 2, concurrency: 4, workers: 2, target: 3, utilization: 80, window: 30s,
          panicWindow: 20, panicThreshold: 150, delay: 1m, retention: 90s}
  timeouts: {request: 90s, start: 2m, drain: 20s}
  limits: {body: 1Mi, queue: 8}
  traffic: [{percent: 90, tag: latest}, {revision: scaled-00001, percent: 10, tag: previous}]
""",
    "placed": """
metadata: {name: placed}
spec:
  handler: main
  source: {path: src}
  env: [{name: LEVEL, value: debug}, {name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token, optional: true}}},
        {name: MODE, valueFrom: {configMapKeyRef: {name: modes, key: mode}}}]
  resources: {requests: {cpu: 500m, memory: 1G}, limits: {cpu: 1500m, memory: 2Gi, nvidia.com/gpu: 1}}
  volumes:
    - {name: data, mountPath: /data, subPath: in, readOnly: true, source: {persistentVolumeClaim: claim}}
    - {name: out, mountPath: /out, source: {persistentVolumeClaim: other}}
    - {name: secret, mountPath: /secret, source: {secret: api}}
    - {name: config, mountPath: /config, source: {configMap: modes}}
    - {name: scratch, mountPath: /scratch, source: {emptyDir: true}}
  scheduling:
    nodeSelector: {disk: ssd}
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions:
      [{key: gpu, operator: Exists}]}]}}}
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
    priorityClass: high
    serviceAccount: runner
    imagePullSecrets: [registry]
""",
    "called": """
metadata: {name: called}
spec:
  handler: main:handler
  source: {path: main.py}
  sink: {broker: default, extensions: {project: shop}}
  triggers:
    - {kind: cron, name: light, schedule: "@every 15m", catchUp: none, timezone: Europe/Oslo, data: {a: 1}}
    - {kind: cron, name: sure, schedule: "@daily", overlap: skip, retry: {attempts: 3}}
    - {kind: cron, name: seconds, schedule: "*/10 * * * * *"}
    - {kind: cron, name: "off", schedule: "@hourly", disabled: true}
    - {kind: event, name: orders, filters: [{exact: {type: order}}, {cesql: "total > 100"}], path: /orders,
       retry: {attempts: 5, backoff: linear, delay: 1s, timeout: 30s, deadLetter: "http://dead.example.com/"}}
    - {kind: event, name: older, broker: other, filters: [{attributes: {type: x, subject: ""}}]}
""",
    "job": """
metadata: {name: train}
spec:
  kind: job
  handler: train:train
  source: {path: train.py}
  parameters: {depth: 3}
  job: {activeDeadline: 1h, ttlAfterFinished: 12h}
  sink: {uri: "https://events.example.com/in"}
  triggers:
    - {kind: cron, name: nightly, schedule: "0 3 * * *", overlap: skip}
    - {kind: event, name: drift, filters: [{exact: {type: dev.trimtab.retrain}}]}
""",
    "tried": """
metadata: {name: tried}
spec:
  kind: job
  handler: train:train
  source: {path: train.py}
  job: {backoffLimit: 2}
  triggers:
    - {kind: cron, name: nightly, schedule: "0 3 * * *"}
    - {kind: event, name: drift, filters: [{exact: {type: dev.trimtab.retrain}}]}
""",
}


def function(name: str) -> Function:
    """Give one of them, checked."""
    return check(loads(_HEAD + SPECS[name]))
