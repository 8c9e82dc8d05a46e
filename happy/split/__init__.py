"""The stations of a stream as processes: who makes events, who orders, and who applies.

``frame_stream`` and ``outcome_frame`` are what goes in and out of a core, as bytes; ``filter`` is
the core between them. ``batches`` is how encoded events are handed over, and ``sequencer`` gives
them their places. ``docs/stream-format.md`` has the formats.

``front`` is a process that has the doors of an application, ``fronts`` starts them and watches
over them. ``messages`` is what passes between a front and its container, and ``pickled`` the
values in it; ``link`` is the socket it passes through. ``front_stream`` is the stream as a front
sees it, ``counterpart`` the container's end of that; ``queries`` is what both have to agree on.

``serving`` is a core that a container keeps, ``core_process`` that core as its stream sees it, and
``ledger`` what is known here of what it did. ``cores`` starts its processes, ``core_life`` is one
of them. ``aside`` is what is said between the frames, ``replies`` how replies go over; ``pipe`` is
the socket.
"""
