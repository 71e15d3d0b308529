"""A byte stream (Stream) and a message channel (Channel) between two guests, in libxenvchan's layout.

    channel.send(b"hello")                  stream.sendall(b"hello")
    message = channel.recv(timeout=1.0)     stream.readexactly(5)
    await channel.asend(b"hello")           await stream.areadexactly(5)

Both ends may be in one guest. What is in the ring when the peer closes or dies can still be read; then PeerGone. A peer
that writes what no honest peer writes closes the channel: PeerMisbehaved. timeout is in seconds for each call: default
5, None for no limit, 0 raises WouldBlock instead of waiting. How ends are made, and what they share: xenproc.vchan.end.
"""

from xenproc.vchan.channel import Channel
from xenproc.vchan.end import DEFAULT_TIMEOUT, RING_SIZE, Geometry, geometry
from xenproc.vchan.stream import Stream

__all__ = ["DEFAULT_TIMEOUT", "RING_SIZE", "Channel", "Geometry", "Stream", "geometry"]
