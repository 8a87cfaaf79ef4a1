"""Environments over HTTP, WebSocket and MCP: the episodes of `gymnasium.make`, for clients on other machines and in other frameworks.

    host       makes the environments of one recipe and lists their tasks
    session    one environment and the calls that a client may make
    slots      how many sessions are open, over all worker processes
    endpoint   /sessions: many sessions over one WebSocket, several calls in one message
    openenv    the same environments behind the protocol of the package `openenv`
    app        all of it as one ASGI application, behind token, limits and idle time
    workers    several processes behind one port
    client     `empg_gym.connect`: a served environment as a `gymnasium.Env`
    mcp        environments as MCP tools

Only `openenv` and `mcp` import the packages of these names.
"""
