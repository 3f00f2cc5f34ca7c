from serving.deployments.metrics import merge_expositions

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
