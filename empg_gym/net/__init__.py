"""HTTP: everything that the package sends over the network, and everything that it serves.

    retry         which failures are retried and how long to wait: the one policy of all clients
    retry_after   how long a server asks to be left alone
    body          the bytes of a reply, bounded: what every client reads foreign bytes with
    exchange      one request and its reply within hard limits of time and size
    send          an exchange that is retried until a deadline (searches, visits, retrieval servers, the judge)
    json_client   an asynchronous JSON client with bounded concurrency (agents)
    guard         which addresses an agent may reach; special_networks lists those that are not public
    server        the HTTP servers of EMPG Gym, with limits that hold against hostile clients
    origin        who may talk to a server on this machine

Nothing here knows an environment, an agent or a benchmark. Downloads stream to disk (`empg_gym.data.download`) by the same policy.
"""
