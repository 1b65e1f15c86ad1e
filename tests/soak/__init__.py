"""A soak: all kinds of clients, for as long as one likes, over a network that harms what it can.

``tox -e soak -- --seconds 600``
"""
