"""The stations of a stream as processes: who orders, and who applies.

``frame_stream`` and ``outcome_frame`` are what goes in and out of a core, as bytes; ``filter`` is
the core between them. ``batches`` is how encoded events are handed over, and ``sequencer`` gives
them their places. ``docs/stream-format.md`` has the formats.
"""
