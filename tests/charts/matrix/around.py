"""Cases of what is around the Ray cluster: storage, models, training, databases, ways in, upgrades, monitoring."""

from __future__ import annotations

from tests.charts.matrix.features import (
    BUNDLED,
    BUNDLED_REDIS,
    CLASSES,
    DOWNLOAD,
    INCREMENTAL,
    INGRESS,
    MONITORED,
    ONE_NODE,
    OPEN,
    ROUTE,
    TOLERANT,
    Values,
)
from tests.charts.rendering import merged

AROUND: dict[str, Values] = {
    "a claim of yours": {"storage": {"existingClaim": "voices"}},
    "a claim with a class and another size": {"storage": {"storageClass": "nfs", "size": "1Ti", "keep": False}},
    "one node": ONE_NODE,
    "one node with training and the download": merged(ONE_NODE, DOWNLOAD),
    "the download": DOWNLOAD,
    "a pinned download from a mirror": merged(
        DOWNLOAD,
        {
            "models": {
                "xtts": {
                    "download": {
                        "repository": "house/XTTS-v2",
                        "revision": "6c2b0d75eae4b7047358e3b6bd9325f857d43f77",
                        "sha256": {"model.pth": "ab" * 32},
                        "endpoint": "https://mirror.example.org:8443",
                        "tokenSecret": {"name": "hub", "key": "token"},
                        "backoffLimit": 3,
                    }
                }
            },
        },
    ),
    "weights that are already there": {"models": {"xtts": {"wait": False}}},
    "a quota for training": merged(CLASSES, {"training": {"gpuQuota": 2}, "gpuPool": 6}),
    "training without GPUs": {"training": {"gpus": 0, "tolerations": []}},
    "training on MIG instances that Kueue admits": {
        "training": {"gpuResource": "nvidia.com/mig-3g.40gb", "queueName": "gpus", "nodeSelector": {"pool": "train"}}
    },
    "training on eight GPUs of four nodes each, with variables and a bound": {
        "training": {
            "nodes": 4,
            "gpus": 8,
            "env": [{"name": "NUM_EPOCHS", "value": "3"}, {"name": "NCCL_DEBUG", "value": "INFO"}],
            "activeDeadlineSeconds": 86400,
        },
        "podDisruptionBudgets": {"training": True},
    },
    "datasets on nodes of their own": {
        "training": {
            "datasets": {
                "resources": {"requests": {"cpu": "8", "memory": "16Gi"}, "limits": {"memory": "16Gi"}},
                "nodeSelector": {"pool": "cpu"},
                "tolerations": [{"key": "cpu", "operator": "Exists"}],
            }
        }
    },
    "TensorBoard": {"tensorboard": {"enabled": True}},
    "TensorBoard on one node without network policies": merged(
        ONE_NODE, {"tensorboard": {"enabled": True}, "networkPolicy": {"enabled": False}}
    ),
    "TensorBoard beside no training, with the options of every pod": {
        "tensorboard": {
            "enabled": True,
            "resources": {"requests": {"cpu": 1, "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
        },
        "training": {"enabled": False},
        "pods": {
            "volumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/company", "readOnly": True}],
        },
        "imagePullSecrets": [{"name": "registry"}],
    },
    "classes that exist": {"priorityClasses": {"serving": "gold", "training": "bronze"}},
    "classes that are made": CLASSES,
    "the bundled database": BUNDLED,
    "a database by URL": {"postgresql": {"url": "postgresql+psycopg://me:secret@db.example.org:6432/voices"}},
    "a database by Secret under another key": {"postgresql": {"existingSecret": {"name": "db", "key": "dsn"}}},
    "a Redis of yours with a password": merged(
        TOLERANT, {"redis": {"address": "redis.example.org:6380", "existingSecret": {"name": "redis", "key": "pass"}}}
    ),
    "a Redis of yours without a password": merged(TOLERANT, {"redis": {"address": "redis:6379"}}),
    "the bundled Redis": BUNDLED_REDIS,
    "both bundled with sizes and classes": merged(
        BUNDLED,
        BUNDLED_REDIS,
        {"postgresql": {"bundled": {"size": "20Gi", "storageClass": "ssd"}}, "redis": {"bundled": {"size": "2Gi"}}},
    ),
    "keys of yours": {"secrets": {"existingSecret": "voices-keys"}},
    "an Ingress": merged(OPEN, INGRESS, {"ingress": {"className": "nginx", "annotations": {"a/b": "off"}}}),
    "an HTTPRoute": merged(OPEN, ROUTE, {"route": {"annotations": {"a/b": "c"}}}),
    "an HTTPRoute in another namespace's Gateway for every host": merged(
        OPEN,
        ROUTE,
        {"route": {"parentRefs": [{"name": "g", "namespace": "infra", "sectionName": "https"}], "hostnames": []}},
    ),
    "a load balancer": merged(OPEN, {"service": {"type": "LoadBalancer", "annotations": {"lb/internal": "true"}}}),
    "node ports": merged(OPEN, {"service": {"type": "NodePort"}}),
    "upgrades in place": {"upgrade": {"type": "None"}},
    "incremental upgrades": INCREMENTAL,
    "other times": {
        "lifecycle": {
            "preStopSeconds": 20,
            "gracefulShutdownSeconds": 300,
            "longestUtteranceSeconds": 280,
            "terminationGracePeriodSeconds": 700,
            "loadBalancerTimeoutSeconds": 900,
            "startupSeconds": 3600,
        },
        "upgrade": {"deletionDelaySeconds": 600},
    },
    "network policies with every peer named": {
        "networkPolicy": {
            "clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}],
            "monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "operator": [{"podSelector": {"matchLabels": {"app": "kuberay"}}}],
            "apiServer": {"cidrs": ["10.0.0.1/32", "fd00::/64"], "ports": [6443]},
            "databases": ["10.2.0.0/16"],
            "extraEgress": [{"ports": [{"port": 3128}], "to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}],
        }
    },
    "no budgets": {"podDisruptionBudgets": {"enabled": False}},
    "monitoring": MONITORED,
    "monitoring with labels and without an alert": merged(
        MONITORED,
        {
            "monitoring": {
                "podMonitors": {"labels": {"release": "prometheus"}, "interval": "1m"},
                "rules": {"labels": {"release": "prometheus"}, "disabled": ["KubevoiceVolumeFilling"]},
                "dashboards": {"labels": {"grafana": "yes"}, "annotations": {"grafana_folder": "Speech"}},
            }
        },
    ),
    "objects of yours": {
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": "own",
                    "namespace": "{{ .Release.Namespace }}",
                    "labels": {
                        "app.kubernetes.io/part-of": "kubevoice",
                        "app.kubernetes.io/instance": "{{ .Release.Name }}",
                        "app.kubernetes.io/managed-by": "Helm",
                        "helm.sh/chart": "own",
                    },
                },
                "data": {"key": "value"},
            }
        ]
    },
}
