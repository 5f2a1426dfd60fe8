"""Stored objects as images, pages and drawings. All but `renderer` runs in a pixel process."""
