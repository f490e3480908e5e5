"""Tests over the real seams: handlers, adapters, moto."""
