"""The journal: one application's entries as framed, checksummed, synced bytes.

``frame`` is the format, ``names`` the files, ``recovery`` what to do with what is found (all
three pure); ``disk`` is the only door to the file system; ``replay`` reads and gives the pen
to the ``appender``; ``blobs`` keeps bodies too large for a frame; ``retention`` lets old segments
go.
"""
