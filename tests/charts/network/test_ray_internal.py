"""templates/network/ray-internal.yaml"""

from tests.charts.rendering import Object, made_by, one, render

TEMPLATE = "network/ray-internal.yaml"


def ports(item: Object) -> list[tuple[int, int]]:
    rules = item["spec"]["ingress"][0]["ports"]
    assert rules == item["spec"]["egress"][0]["ports"]
    return [(rule["port"], rule.get("endPort", rule["port"])) for rule in rules]


def test_every_port_that_ray_is_started_with_is_open_between_its_pods() -> None:
    objects = render()
    cluster = one(objects, "RayService")["spec"]["rayClusterConfig"]
    open_ports = ports(one(made_by(TEMPLATE), "NetworkPolicy"))
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        given = group["rayStartParams"]
        numbers = {int(value) for name, value in given.items() if name.endswith("port")}
        for number in numbers - {int(given.get("ray-client-server-port", 0))}:
            assert any(low <= number <= high for low, high in open_ports), number
        low, high = int(given["min-worker-port"]), int(given["max-worker-port"])
        assert (low, high) in open_ports


def test_the_ports_that_linux_chooses_are_open_as_serve_s_replicas_listen_there() -> None:
    assert (32768, 60999) in ports(one(made_by(TEMPLATE), "NetworkPolicy"))


def test_the_port_of_ray_clients_is_closed() -> None:
    assert not any(low <= 10001 <= high for low, high in ports(one(made_by(TEMPLATE), "NetworkPolicy")))


def test_the_ports_of_haproxy_are_open_where_it_runs() -> None:
    haproxy = {(8404, 8404), (8500, 8500), (30000, 31000)}
    assert haproxy <= set(ports(one(made_by(TEMPLATE), "NetworkPolicy")))
    assert not haproxy & set(ports(one(made_by(TEMPLATE, {"ray": {"haProxy": False}}), "NetworkPolicy")))


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
