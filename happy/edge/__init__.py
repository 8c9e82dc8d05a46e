"""What stands in front of a container, configured from the container's own configuration.

``reach`` says where another program finds a door, ``servers`` which doors each kind of server can
be in front of, ``facing`` what a server is to know of an application, and ``writing`` makes the
text of it, by the templates beside it. Text in, text out: nothing is read or opened here.
"""
