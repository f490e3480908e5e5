"""Signed, expiring links and tokens with which a waiting step is answered from outside, once, without an AWS identity.

Imported only where a link is made or opened: a function that does neither pays nothing for it.
"""
