"""How fast it is here: what ``happy bench`` and the scripts in ``benchmarks/`` measure with.

``appends`` makes records durable, ``clients`` has events ordered without a door, ``load`` asks
over HTTP, ``reopening`` replays. ``figures`` makes statistics of it, ``model`` predicts from them,
``machine`` says what it was measured on, ``children`` starts and ends the processes that all of
this runs in, and ``parts`` is the short form of everything.
"""
