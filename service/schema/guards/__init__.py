"""Limits on what one document may ask for, checked before anything runs."""
