"""HTTP: the edge that guards every request, the fast path, reading and writing of messages, cookies, and the
outbound client.
"""
