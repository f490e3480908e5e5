"""Signed, expiring links and tokens with which a waiting step is answered from outside, once, without an AWS identity.

Imported only by whoever makes a link or is asked by one: a function that does neither pays nothing for it.
"""
