import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.deployments.metrics import merge_expositions, metrics_urls, scrape

NODE_A = """# HELP ray_kubevoice_requests_total HTTP requests answered
# TYPE ray_kubevoice_requests_total counter
ray_kubevoice_requests_total{node="a"} 3.0
# HELP ray_node_cpu Something of Ray's own
# TYPE ray_node_cpu gauge
ray_node_cpu 1.0
"""
NODE_B = NODE_A.replace('node="a"} 3.0', 'node="b"} 4.0')


def test_a_family_of_two_nodes_has_one_header_and_all_samples() -> None:
    assert merge_expositions([NODE_A, NODE_B]).decode() == (
        "# HELP ray_kubevoice_requests_total HTTP requests answered\n"
        "# TYPE ray_kubevoice_requests_total counter\n"
        'ray_kubevoice_requests_total{node="a"} 3.0\n'
        'ray_kubevoice_requests_total{node="b"} 4.0\n'
    )


def test_a_node_that_did_not_answer_hides_nothing() -> None:
    assert merge_expositions(["", NODE_A]) == merge_expositions([NODE_A])


def test_only_living_nodes_are_asked_and_ipv6_addresses_are_bracketed() -> None:
    nodes = [
        {"NodeManagerAddress": "10.0.0.1", "MetricsExportPort": 8080, "Alive": True},
        {"NodeManagerAddress": "fd00::2", "MetricsExportPort": 8081, "Alive": True},
        {"NodeManagerAddress": "10.0.0.3", "MetricsExportPort": 8080, "Alive": False},
    ]
    assert metrics_urls(nodes) == ["http://10.0.0.1:8080/metrics", "http://[fd00::2]:8081/metrics"]


def test_a_node_is_asked_directly_whatever_proxy_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(NODE_A.encode())

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert scrape(f"http://127.0.0.1:{server.server_port}/metrics") == NODE_A


def test_a_node_that_does_not_answer_is_an_empty_page() -> None:
    assert scrape("http://127.0.0.1:9/metrics") == ""
