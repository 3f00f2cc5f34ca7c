"""Cases of the Ray cluster: image, application, worker groups, pods."""

from __future__ import annotations

from tests.charts.matrix.features import FRONT, TAINT, Values, group

CLUSTER: dict[str, Values] = {
    "a short name": {"nameOverride": "tts"},
    "the longest name": {"fullnameOverride": "a" * 40},
    "labels and annotations everywhere": {
        "labels": {"team": "speech"},
        "annotations": {"example.org/owner": "speech team"},
        "serviceAccounts": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/speech"}},
    },
    "an image by tag from a private registry": {
        "image": {"repository": "registry.example.org:5000/speech/kubevoice", "tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "an image by digest": {"image": {"digest": f"sha256:{'0f' * 32}"}},
    "espeak": {"settings": {"engine": "espeak"}, "speech": {"gpus": 0}},
    "xtts on the CPU": {"settings": {"xtts": {"device": "cpu"}}, "speech": {"gpus": 0}},
    "every setting of the application": {
        "settings": {
            "limits": {"input_chars": 1000, "upload_bytes": 1048576, "reference_min_s": 2.5, "ongoing_per_replica": 32},
            "voices": {"default": "anna", "language": "de", "aliases": {"alloy": "anna"}},
            "xtts": {
                "model": "house",
                "device": "cuda:0",
                "fallback_cpu": True,
                "slots": 32,
                "queue": 64,
                "queue_age_s": 10,
                "decoder_precision": "float32",
                "vocoder_precision": "float16",
                "cuda_graphs": False,
            },
            "log": {"level": "DEBUG", "format": "text"},
        }
    },
    "voices are converted on GPUs of their own": {
        "conversion": {"enabled": True, "minReplicas": 0, "maxReplicas": 2, "maxSurgePercent": 100},
        "settings": {"rvc": {"device": "cuda:0", "queue": 32}, "limits": {"conversion_max_s": 60}},
        "workerGroups": [
            FRONT,
            group("gpu", ["speech"], 3, gpus=1, tolerations=[TAINT]),
            group("rvc", ["conversion"], 3, gpus=1, tolerations=[TAINT]),
        ],
    },
    "voices are converted on half the GPU that speaks": {
        "speech": {"gpus": 0.5, "maxReplicas": 2, "cpus": 1},
        "conversion": {"enabled": True, "gpus": 0.5},
        "workerGroups": [FRONT, group("gpu", ["speech", "conversion"], 3, gpus=1, tolerations=[TAINT])],
    },
    "voices are converted on the CPU": {
        "conversion": {"enabled": True, "gpus": 0},
        "settings": {"rvc": {"device": "cpu"}},
        "workerGroups": [
            group("api", ["api", "conversion"], 4),
            group("gpu", ["speech"], 3, gpus=1, tolerations=[TAINT]),
        ],
    },
    "half a GPU for each replica": {"speech": {"gpus": 0.5, "cpus": 1}},
    "three GPUs for each replica": {
        "speech": {"gpus": 3},
        "workerGroups": [FRONT, group("gpu", ["speech"], 3, gpus=3, tolerations=[TAINT])],
    },
    "replicas that come and go": {
        "speech": {"minReplicas": 0},
        "workerGroups": [FRONT, group("gpu", ["speech"], 3, gpus=1, minReplicas=0)],
        "api": {"maxReplicas": 2},
    },
    "a fixed number of replicas": {"speech": {"minReplicas": 2, "maxReplicas": 2}, "api": {"maxReplicas": 2}},
    "no spare GPU during a change": {
        "speech": {"maxReplicas": 3, "maxSurgePercent": 0},
    },
    "one group for both": {"workerGroups": [group("all", ["api", "speech"], 4, gpus=1)], "speech": {"cpus": 1}},
    "two GPU types and a preference": {
        "workerGroups": [
            FRONT,
            group("l4", ["speech"], 2, gpus=1, priority=10, nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L4"}),
            group("a10", ["speech"], 2, gpus=1, nodeSelector={"nvidia.com/gpu.product": "NVIDIA-A10G"}),
        ],
        "api": {"maxReplicas": 2},
    },
    "MIG instances": {
        "workerGroups": [FRONT, group("mig", ["speech"], 4, gpus=1, gpuResource="nvidia.com/mig-2g.20gb")],
        "api": {"maxReplicas": 2},
    },
    "a group with every option": {
        "workerGroups": [
            FRONT,
            group(
                "gpu-a100-80gb-spot",
                ["speech"],
                4,
                gpus=1,
                priority=1,
                priorityClassName="gold",
                labels={"tier": "gold"},
                runtimeClassName="nvidia",
                topologySpread="DoNotSchedule",
                tolerations=[TAINT],
                env=[{"name": "LANG", "value": "C.UTF-8"}],
                annotations={"example.org/note": "spot"},
                affinity={
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "spot", "operator": "Exists"}]}]
                        }
                    }
                },
            ),
        ],
        "api": {"maxReplicas": 2},
    },
    "nodes of our own for every pod": {
        "pods": {
            "nodeSelector": {"pool": "speech"},
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "speech", "effect": "NoSchedule"}],
        }
    },
    "no spread over zones": {"pods": {"topologySpread": ""}},
    "a hard spread over zones": {"pods": {"topologySpread": "DoNotSchedule"}},
    "extra environment, volumes and labels of pods": {
        "pods": {
            "labels": {"cost": "speech"},
            "annotations": {"sidecar.istio.io/inject": "false"},
            "env": [
                {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hub"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "proxy"}}, {"secretRef": {"name": "tokens"}}],
            "volumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/company", "readOnly": True}],
        }
    },
    "another user and more memory": {"pods": {"userId": 20000, "sharedMemory": "4Gi", "temporaryStorage": "50Gi"}},
    "Ray without HAProxy": {"ray": {"haProxy": False}},
    "Ray without a token": {"ray": {"authentication": False}},
    "a head on nodes of its own": {
        "ray": {
            "headStartParams": {"include-log-monitor": "false"},
            "head": {
                "resources": {"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"cpu": 4, "memory": "16Gi"}},
                "nodeSelector": {"pool": "system"},
                "tolerations": [{"key": "system", "operator": "Exists"}],
                "priorityClassName": "gold",
            },
            "autoscaler": {"idleTimeoutSeconds": 600, "upscalingMode": "Conservative"},
        }
    },
}
