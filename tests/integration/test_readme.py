"""The README's session, as a newcomer types it."""

import xenproc


def test_first_session(hv):
    def guest(g, x):
        g.console.print(f"hello from domain {g.domid}")
        return {"x": x}

    dom = hv.create(guest, 42, name="hello", memory="8M")
    assert dom.wait() == {"x": 42}
    assert dom.console.read() == f"hello from domain {dom.domid}\n"
    assert dom.state == "dead"
    assert [row["name"] for row in hv.domains()] == ["Domain-0"]
    assert xenproc.__version__
