"""The DIMSE server: an asyncio driver of the sans-IO upper layer."""
