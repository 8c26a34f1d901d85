"""Adapters between devices and their wire protocols, the motion guard, and the simulated bench."""
