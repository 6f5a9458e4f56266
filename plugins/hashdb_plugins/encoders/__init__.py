"""Encoders: raw items to vectors."""
