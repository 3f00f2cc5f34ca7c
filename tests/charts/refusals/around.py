"""Cases of what is around the Ray cluster: time, storage, databases, training, who gets in, upgrades."""

from __future__ import annotations

import yaml

from tests.charts.refusals.values import API, ESPEAK, GPU, INCREMENTAL, OPEN, TOLERANT, Case, groups, scaler
from tests.charts.rendering import merged

AROUND: dict[str, Case] = {
    "pods are killed before their streams end": (
        {"lifecycle": {"terminationGracePeriodSeconds": 220}},
        [
            "lifecycle.preStopSeconds (10)",
            "lifecycle.gracefulShutdownSeconds (120)",
            "lifecycle.longestUtteranceSeconds (90)",
            "is 220, not below lifecycle.terminationGracePeriodSeconds (220)",
            "raise the last above 220",
        ],
    ),
    "the load balancer gives up before the pod does": (
        {"lifecycle": {"loadBalancerTimeoutSeconds": 240}},
        ["terminationGracePeriodSeconds (240)", "loadBalancerTimeoutSeconds (240)", "raise the latter above 240"],
    ),
    "a replica stops before its longest stream ends": (
        {"lifecycle": {"gracefulShutdownSeconds": 89}},
        ["gracefulShutdownSeconds (89)", "longestUtteranceSeconds (90)", "raise it to 90"],
    ),
    "the old cluster goes while it still speaks": (
        {"upgrade": {"deletionDelaySeconds": 209}},
        ["upgrade.deletionDelaySeconds (209)", "gracefulShutdownSeconds (120)", "raise it to 210"],
    ),
    "a volume of one node is asked for on several": (
        {"storage": {"accessMode": "ReadWriteOnce"}},
        ["storage.accessMode is ReadWriteOnce", "storage.singleNode is false", "to ReadWriteMany"],
    ),
    "there is no database": (
        {"postgresql": {"existingSecret": {"name": ""}}},
        ["no database is named", "set postgresql.existingSecret.name", "postgresql.bundled.enabled"],
    ),
    "there are two databases": (
        {"postgresql": {"bundled": {"enabled": True}}},
        ["postgresql.existingSecret.name (records) and postgresql.bundled.enabled (true) are 2", "keep one"],
    ),
    "there are three databases, and the password of one stays secret": (
        {"postgresql": {"bundled": {"enabled": True}, "url": "postgresql://me:hidden@host/name"}},
        ["postgresql.url and", "are 3 databases"],
    ),
    "Ray's control state has nowhere to be": (
        TOLERANT,
        ["ray.gcsFaultTolerance.enabled is true", "no Redis is named", "set redis.address"],
    ),
    "Ray's control state has two places": (
        merged(TOLERANT, {"redis": {"address": "redis:6379", "bundled": {"enabled": True}}}),
        ["redis.address (redis:6379)", "redis.bundled.enabled (true)", "clear the former"],
    ),
    "a password belongs to no Redis": (
        merged(TOLERANT, {"redis": {"existingSecret": {"name": "mine"}, "bundled": {"enabled": True}}}),
        ["redis.existingSecret.name (mine)", "redis.bundled.enabled is true", "clear the former"],
    ),
    "another autoscaler owns the pods of the Ray cluster": (
        {"extraObjects": [scaler("ScaledObject", "RayCluster", "voices-kubevoice-abcde")]},
        ["extraObjects has the ScaledObject more", "RayCluster voices-kubevoice-abcde", "remove it"],
    ),
    "another autoscaler is in a text that is a template": (
        {
            "extraObjects": [
                "kind: ConfigMap\nmetadata: {name: a}\n---\n"
                + yaml.safe_dump(
                    scaler("HorizontalPodAutoscaler", "RayService", '{{ include "kubevoice.fullname" . }}')
                )
            ]
        },
        ["extraObjects has the HorizontalPodAutoscaler more", "RayService voices-kubevoice,"],
    ),
    "training starves serving": (
        {"gpuPool": 4, "training": {"gpuQuota": 4}, "priorityClasses": {"training": "low"}},
        ["training.gpuQuota (4)", "(1: speech.minReplicas", "gpuPool (4)", "lower training.gpuQuota to 3"],
    ),
    "training starves pods that share a GPU": (
        groups(
            API,
            {**GPU, "minReplicas": 2},
            gpuPool="4",
            speech={"minReplicas": 3, "maxReplicas": 4, "gpus": 0.5},
            training={"gpuQuota": "3"},
            priorityClasses={"training": "low"},
        ),
        ["training.gpuQuota (3)", "(2: speech.minReplicas", "lower training.gpuQuota to 2"],
    ),
    "training has no bound in a cluster that has one": (
        {"gpuPool": 4},
        ["gpuPool is 4", "training.gpuQuota is empty", "set the latter to 3 or less"],
    ),
    "serving grows beyond the cluster": (
        {"gpuPool": 1, "training": {"enabled": False}},
        ["gpuPool is 1", "serving may grow to 2 GPUs", "lower speech.maxReplicas"],
    ),
    "a quota counts no class": (
        {"training": {"gpuQuota": 0}},
        ["training.gpuQuota is 0", "priorityClasses.training is empty", "name a class"],
    ),
    "no training Job fits in the quota": (
        {"training": {"gpuQuota": 2, "gpus": 4}, "priorityClasses": {"training": "low"}},
        ["training.gpus (4)", "training.gpuQuota (2)", "lower the former"],
    ),
    "no training Job of several nodes fits in the quota": (
        {"training": {"gpuQuota": 3, "gpus": 2, "nodes": 2}, "priorityClasses": {"training": "low"}},
        ["training.gpus (2) times training.nodes (2)", "training.gpuQuota (3)", "lower the former"],
    ),
    "one node is to be several": (
        {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}, "training": {"nodes": 2}},
        ["training.nodes is 2", "storage.singleNode", "set the former to 1"],
    ),
    "a process is to see several MIG instances": (
        {"training": {"gpus": 2, "gpuResource": "nvidia.com/mig-2g.20gb"}},
        ["training.gpus is 2", "nvidia.com/mig-2g.20gb", "set the former to 1"],
    ),
    "serving and training have one class": (
        {"priorityClasses": {"serving": "all", "training": "all"}},
        ["priorityClasses.serving and priorityClasses.training are both all", "name two"],
    ),
    "training goes before serving": (
        {"priorityClasses": {"create": True, "serving": "a", "training": "b", "trainingValue": 100000}},
        ["priorityClasses.servingValue (100000)", "priorityClasses.trainingValue (100000)", "raise the former"],
    ),
    "classes without names are to be made": (
        {"priorityClasses": {"create": True}},
        ["priorityClasses.create is true", "are empty", "name the classes"],
    ),
    "the licence is not accepted": (
        {"models": {"xtts": {"download": {"enabled": True}}}},
        ["models.xtts.download.acceptLicence is false", "https://coqui.ai/cpml", "set it to true if you accept"],
    ),
    "weights are downloaded that nobody loads": (
        merged(ESPEAK, {"models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}}}),
        ["models.xtts.download.enabled is true", "settings.engine is espeak", "set the former to false"],
    ),
    "an incremental upgrade has no Gateway": (
        merged(INCREMENTAL, {"upgrade": {"gatewayClassName": ""}}),
        ["upgrade.type is NewClusterWithIncrementalUpgrade", "upgrade.gatewayClassName is empty", "name the"],
    ),
    "a step is larger than the room for it": (
        merged(INCREMENTAL, {"upgrade": {"stepSizePercent": 30}}),
        ["upgrade.stepSizePercent (30)", "upgrade.maxSurgePercent (20)", "lower the former"],
    ),
    "an Ingress passes the Gateway by": (
        merged(INCREMENTAL, {"ingress": {"enabled": True, "hosts": ["a.example.org"]}}),
        ["ingress.enabled is true and upgrade.type is", "a Gateway of its own", "set ingress.enabled to false"],
    ),
    "a route passes the Gateway by": (
        merged(INCREMENTAL, {"route": {"enabled": True, "parentRefs": [{"name": "public"}]}}),
        ["route.enabled is true and upgrade.type is", "set route.enabled to false"],
    ),
    "a load balancer passes the Gateway by": (
        merged(INCREMENTAL, {"service": {"type": "LoadBalancer"}}),
        ["service.type is LoadBalancer and upgrade.type is", "set service.type to ClusterIP"],
    ),
    "the Gateway of an upgrade lets everybody in": (
        {"upgrade": INCREMENTAL["upgrade"]},
        ["which makes a Gateway", "until there is an API key", "set exposure.allowUnauthenticated to true"],
    ),
    "an Ingress lets everybody in": (
        {"ingress": {"enabled": True, "hosts": ["a.example.org"]}},
        ["ingress.enabled is true", "until there is an API key", "exposure.allowUnauthenticated"],
    ),
    "a route lets everybody in": (
        {"route": {"enabled": True, "parentRefs": [{"name": "public"}]}},
        ["route.enabled is true", "exposure.allowUnauthenticated"],
    ),
    "a load balancer lets everybody in": (
        {"service": {"type": "LoadBalancer"}},
        ["service.type is LoadBalancer", "exposure.allowUnauthenticated"],
    ),
    "a port of every node lets everybody in": (
        {"service": {"type": "NodePort"}},
        ["service.type is NodePort", "exposure.allowUnauthenticated"],
    ),
    "an Ingress has no host": (
        merged(OPEN, {"ingress": {"enabled": True}}),
        ["ingress.enabled is true", "ingress.hosts is empty", "name the hosts"],
    ),
    "a route has no gateway": (
        merged(OPEN, {"route": {"enabled": True}}),
        ["route.enabled is true", "route.parentRefs is empty", "name the gateways"],
    ),
    "an alert that is none is switched off": (
        {"monitoring": {"rules": {"disabled": ["KubevoiceNotThere"]}}},
        ["monitoring.rules.disabled names KubevoiceNotThere", "take one of", "KubevoiceNotReady"],
    ),
}
