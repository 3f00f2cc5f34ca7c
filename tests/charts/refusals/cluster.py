"""Cases of the Ray cluster: names, replicas, worker groups and the room in them."""

from __future__ import annotations

from tests.charts.refusals.values import API, ESPEAK, GPU, Case, groups
from tests.charts.rendering import merged

CONVERSION: dict[str, object] = {"enabled": True}
CONVERTING = {**GPU, "runs": ["speech", "conversion"]}

CLUSTER: dict[str, Case] = {
    "more replicas are wanted than GPUs hold": (
        {"speech": {"maxReplicas": 4}},
        ["speech.maxReplicas is 4", "hold 3 replicas (gpu 3 pods of 1)", "lower speech.maxReplicas to 3"],
    ),
    "more replicas are wanted than the shares of GPUs hold": (
        {"speech": {"maxReplicas": 7, "gpus": 0.4, "cpus": 1}},
        ["speech.maxReplicas is 7", "hold 6 replicas (gpu 3 pods of 2)"],
    ),
    "more replicas are wanted than shares that each lie on one GPU": (
        groups(API, {**GPU, "gpus": 2}, speech={"maxReplicas": 13, "gpus": 0.4, "cpus": 0.5}),
        ["speech.maxReplicas is 13", "hold 12 replicas (gpu 3 pods of 4)"],
    ),
    "more replicas are wanted than CPUs hold": (
        merged(ESPEAK, {"speech": {"maxReplicas": 7}}),
        ["speech.maxReplicas is 7", "hold 6 replicas (gpu 3 pods of 2)"],
    ),
    "more replicas are always wanted than there may be pods": (
        {"speech": {"minReplicas": 5, "maxReplicas": 5}},
        ["speech.maxReplicas is 5", "hold 3 replicas"],
    ),
    "more API replicas are wanted than CPUs hold": (
        {"api": {"maxReplicas": 9}},
        ["api.maxReplicas is 9", "hold 8 replicas (api 4 pods of 2)", "lower api.maxReplicas to 8"],
    ),
    "both kinds of replicas count on the same CPUs": (
        groups({**GPU, "name": "all", "runs": ["api", "speech"]}, speech={"maxReplicas": 2}, api={"maxReplicas": 9}),
        ["speech.maxReplicas (2) times speech.cpus (2)", "api.maxReplicas (9)", "are 13 CPUs", "have 12"],
    ),
    "pods are too small for one replica": (
        {"speech": {"cpus": 5}},
        ["worker group gpu runs speech", "too small", "speech.cpus is 5", "have 4 CPUs", "give it more"],
    ),
    "a GPU engine is to run without GPUs": (
        groups(API, {**GPU, "gpus": 0}),
        ["worker group gpu runs speech", "speech.gpus is 1 and its gpus 0"],
    ),
    "a replica is told to use a GPU that it does not get": (
        {"speech": {"gpus": 0}},
        ["speech.gpus is 0", "settings.xtts.device is cuda", "set the latter to cpu"],
    ),
    "a change of settings waits for a GPU that never comes": (
        {"speech": {"maxReplicas": 3}},
        ["speech.maxSurgePercent is 100", "room for the 3 replicas", "(gpu 3 pods of 1)", "set the former to 0"],
    ),
    "no group runs the API": (groups(GPU), ["no worker group runs api (workerGroups: gpu)", "add api to the runs"]),
    "no group speaks": (groups(API), ["no worker group runs speech (workerGroups: api)", "add speech to the runs"]),
    "no group converts": (
        {"conversion": {"enabled": True}},
        ["no worker group runs conversion (workerGroups: api, gpu)", "add conversion to the runs"],
    ),
    "speech and conversion count on the same GPUs": (
        groups(API, CONVERTING, speech={"maxReplicas": 2}, conversion={"enabled": True, "maxReplicas": 2}),
        ["speech.maxReplicas (2) times speech.gpus (1)", "conversion.maxReplicas (2)", "are 4 GPUs", "have 3"],
    ),
    "more conversion is wanted than GPUs hold": (
        groups(
            API, GPU, {**CONVERTING, "name": "rvc", "runs": ["conversion"]}, conversion=CONVERSION | {"maxReplicas": 4}
        ),
        ["conversion.maxReplicas is 4", "hold 3 replicas (rvc 3 pods of 1)"],
    ),
    "the bounds of conversion are turned around": (
        groups(API, CONVERTING, conversion=CONVERSION | {"minReplicas": 2}),
        ["conversion.minReplicas (2)", "conversion.maxReplicas (1)"],
    ),
    "a converter is told to use a GPU that it does not get": (
        groups(API, CONVERTING, conversion=CONVERSION | {"gpus": 0}),
        ["conversion.gpus is 0", "settings.rvc.device is cuda", "set the latter to cpu"],
    ),
    "autoscaling of conversion aims above what a replica takes": (
        groups(API, CONVERTING, conversion=CONVERSION | {"targetOngoingRequests": 17}),
        ["conversion.targetOngoingRequests (17)", "lower it to 16"],
    ),
    "two groups have one name": (
        groups(API, GPU, {**GPU, "gpus": 2}),
        ["workerGroups has two groups with the name gpu", "rename one"],
    ),
    "a group's bounds are turned around": (
        groups(API, {**GPU, "minReplicas": 4}),
        ["minReplicas (4) of worker group gpu", "its maxReplicas (3)", "lower the former"],
    ),
    "the CPUs of a group are unknown": (
        groups({**API, "resources": {}}, GPU),
        ["resources of worker group api have no cpu", "set requests.cpu"],
    ),
    "the bounds of speech are turned around": (
        {"speech": {"minReplicas": 3, "maxReplicas": 2}},
        ["speech.minReplicas (3)", "speech.maxReplicas (2)"],
    ),
    "the bounds of the API are turned around": (
        {"api": {"minReplicas": 5}},
        ["api.minReplicas (5)", "api.maxReplicas (4)"],
    ),
    "autoscaling aims above what a replica takes": (
        {"speech": {"targetOngoingRequests": 17}},
        ["speech.targetOngoingRequests (17)", "settings.limits.ongoing_per_replica (16)", "lower the former to 16"],
    ),
    "autoscaling aims above a limit of the values": (
        {"speech": {"targetOngoingRequests": 5}, "settings": {"limits": {"ongoing_per_replica": 4}}},
        ["speech.targetOngoingRequests (5)", "settings.limits.ongoing_per_replica (4)"],
    ),
    "a volume has the name of one of ours": (
        {"pods": {"volumes": [{"name": "data", "emptyDir": {}}]}},
        ["pods.volumes has a volume with the name data", "another name"],
    ),
    "the names become too long": (
        {"nameOverride": "v" * 40},
        ["begin with voices-", "47 characters", "set fullnameOverride"],
    ),
}
