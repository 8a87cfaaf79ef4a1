"""Environments over HTTP, WebSocket and MCP: the episodes of `gymnasium.make`, for clients on other machines and in other frameworks.

    settings       what is served and how much clients may use
    host           makes the environments of one recipe and lists their tasks
    session        one environment and the calls that a client may make
    slots          how many sessions are open, over all worker processes
    endpoint       /sessions: many sessions over one WebSocket, several calls in one message
    openenv        the same environments behind the protocol of the package `openenv`; `openenv_client` is its typed client
    door, token    who may enter, for how long without a message
    app            all of it as one ASGI application
    workers        several processes behind one port; `forward` finds sessions that were made over HTTP
    client         a connection to /sessions, over `websocket`
    remote_env     `empg_gym.connect`: a served environment as a `gymnasium.Env`; `batch` is `empg_gym.connect_batch`
    episodes, mcp  environments as MCP tools
    container      the server in a container; `space_files` writes its recipe

Only `openenv`, `openenv_client` and `mcp` import the packages of these names.
"""
