"""``kubevoice drain-node``."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("drain-node", epilog="Example: kubevoice drain-node --timeout 230")(drain_node)


def drain_node(
    timeout: Annotated[
        float,
        typer.Option(
            min=1,
            help="Seconds until the node has to be empty; longer than a replica takes to start elsewhere and to finish "
            "its streams.",
        ),
    ],
    settle: Annotated[
        float, typer.Option(min=0, help="Return no earlier than after these seconds, for load balancers to notice.")
    ] = 0.0,
    node: Annotated[
        str | None, typer.Option(metavar="ID", help="The node's id.", show_default="the node of this machine")
    ] = None,
) -> None:
    """Have Ray Serve leave this machine's Ray node, and wait: the preStop hook of a worker pod.

    RAY_ADDRESS and Ray's token variables are honoured. When the time is over, what is left is named and the exit code
    is 0 all the same; it is 1 or 2 if Ray could not be asked.
    """
    # Ray's client would end this process when the head is away for longer than its default of a minute.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(int(timeout) + 60))
    from serving.deployments.nodes import find_node, leave

    found = find_node(node)
    if found is None:
        typer.echo("no Ray node runs on this machine any more; there is nothing to drain")
        return
    leave(found, timeout, settle, typer.echo)
