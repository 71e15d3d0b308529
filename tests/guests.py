"""Guests that several tests use. A module of its own, as a guest imports the module its function comes from."""


def idle(g):
    """[guest] Do nothing until told to end; return the reason."""
    return g.shutdown_request(None)
